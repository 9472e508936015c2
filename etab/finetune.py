"""Backbone and head as one torch module, trained end to end by the one loop, or with the backbone frozen.

The body hears frames in [0, 1] and normalises by its own card. Frozen means frozen: no gradient, no drop-out, and the
running statistics of batch norm stand still; what it says of a row is then computed once and kept, where it fits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.augment import AUGMENTATIONS, clinical
from etab.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD, Items
from etab.errors import UnsupportedOptionError
from etab.heads.segmentation import choose_levels, refuse_maps, sides_of
from etab.training import Progress, Recipe, Report, seeded, train
from etab.types import IntArray, Kind

if TYPE_CHECKING:
    from etab.backbones.vision import TorchBackbone

BUDGET = 2 << 30
_FIRST_LOOK = 64
_CHUNK = 16


class Body(nn.Module):
    """The network of a loaded backbone with its taps: frames (n, 3, h, w) in [0, 1] to maps, fine to coarse, and a vector."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: TorchBackbone) -> None:
        """Take the network over as a copy that trains; the backbone given stays as it is."""
        super().__init__()
        if not hasattr(backbone, "network") or not hasattr(backbone, "taps"):
            raise UnsupportedOptionError(
                f"{type(backbone).__name__} is no torch network that can be joined to a head; take one with weights, or give "
                "a torch module."
            )
        if backbone.card.modality != "image":
            raise UnsupportedOptionError(
                f"{backbone.card.name} reads {backbone.card.modality}; fine-tuning takes pictures."
            )
        mine = copy.deepcopy(backbone.network)
        self.network = mine.float().requires_grad_(True)
        self.size = backbone.card.size
        self.taps = _levels(mine, backbone)
        self.register_buffer(
            "shift", torch.tensor(backbone.card.mean).view(1, -1, 1, 1), persistent=False
        )
        self.register_buffer(
            "scale", torch.tensor(backbone.card.std).view(1, -1, 1, 1), persistent=False
        )

    @property
    def fixed(self) -> bool:
        """Whether the network takes frames of its own size only."""
        return getattr(getattr(self.network, "patch_embed", None), "img_size", None) is not None

    def forward(self, frames: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps (n, c, h, w) of every tapped layer, and the mean of the last (with its class token) as (n, d)."""
        if self.fixed and tuple(frames.shape[-2:]) != (self.size, self.size):
            frames = functional.interpolate(
                frames, size=(self.size, self.size), mode="bilinear", antialias=True
            )
        said = self.taps((frames - self.shift) / self.scale)
        _, last, token = said[-1]
        pooled = last.mean(dim=(2, 3))
        return [grid for _, grid, _ in said], pooled if token is None else torch.cat(
            [token, pooled], dim=1
        )


def _levels(network: Any, backbone: TorchBackbone) -> Callable[[Tensor], Any]:
    """Taps on a copy of a backbone's network: the last four resolutions from stride 4 on, or its own where it has no more."""
    from etab.backbones import vision

    if hasattr(network, "forward_intermediates"):
        blocks = len(getattr(network, "blocks", ())) if hasattr(network, "cls_token") else 0
        if blocks:
            at = [blocks // 2 - 1, 3 * blocks // 4 - 1, blocks - 1]
        else:
            at = [i for i, f in enumerate(network.feature_info) if f["reduction"] >= 4][-4:]
        return vision.timm_taps(network, at, [str(i) for i in at])
    if backbone.card.source == "segmentation_models_pytorch":
        return lambda x: [("", grid, None) for grid in network(x)[-4:]]
    found = [m for m in vision.probe_modules(network, backbone.card.size) if m[1] >= 4][-4:]
    if not found:
        raise UnsupportedOptionError(
            f"{backbone.card.name} shows no square feature map (n, c, h, w) to put a head on."
        )
    return vision.module_taps(
        network, [n for n, _, _ in found], [f"stride{s}" for _, s, _ in found]
    )


class VectorHead(nn.Module):
    """Vectors of a frame or of the frames of a clip (n, t, d), standardised, to (n, outputs).

    "linear" and "mlp" see the ``frames`` frames side by side; "rnn", "lstm" and "gru" read clips of any length and answer
    from their last state.
    """

    mean: Tensor
    deviation: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(
        self, name: str, dim: int, outputs: int, *, frames: int = 1, hidden: int = 128
    ) -> None:
        """Build for vectors of ``dim``."""
        super().__init__()
        self.name, self.frames = name, frames
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        cells: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        self.cell = cells[name](dim, hidden, batch_first=True) if name in cells else None
        wide = hidden if self.cell is not None else dim * frames
        middle = [nn.Linear(wide, hidden), nn.GELU(), nn.Dropout(0.2)] if name == "mlp" else []
        self.answer = nn.Sequential(*middle, nn.Linear(hidden if name == "mlp" else wide, outputs))

    def standardise(self, vectors: Tensor) -> None:
        """Set mean and deviation from vectors (rows, t, d) of training rows."""
        flat = vectors.flatten(0, 1)
        self.mean.copy_(flat.mean(0))
        self.deviation.copy_(flat.std(0, correction=0).clamp_min(1e-3))

    def scale_answers(self, answers: Tensor) -> None:
        """Set centre and spread of values from those of the training rows."""
        self.centre.copy_(answers.mean())
        self.spread.copy_(answers.std(correction=0).clamp_min(1e-6))

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Logits, or values in the target's unit where there is one output."""
        z = (parts[0] - self.mean) / self.deviation
        if self.cell is None and z.shape[1] != self.frames:
            raise UnsupportedOptionError(
                f"The head {self.name!r} was made for {self.frames} frame(s) side by side; the clips have {z.shape[1]}. Take "
                "RNN, LSTM or GRU, or frames= of that number."
            )
        out = self.answer(z.flatten(1) if self.cell is None else self.cell(z)[0][:, -1])
        return self.centre + self.spread * out[:, 0] if out.shape[1] == 1 else out  # type: ignore[no-any-return]


def _mask_head(name: str, maps: Sequence[Tensor], side: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A decoder for these maps, and which of them feed its levels."""
    from etab.heads.networks import SegmentationNetwork

    refuse_maps(name, maps)
    grid = max(16, 8 * round(side / 32))
    shapes = [tuple(m.shape) for m in maps]
    picked = choose_levels(shapes, grid)
    channels = [maps[i].shape[1] for i in picked]
    return SegmentationNetwork(
        name, channels, grid=grid, sides=sides_of(name, shapes, grid)
    ), picked


class Network(nn.Module):
    """A body and a head. ``freeze`` and ``unfreeze`` the body at any time; the head always trains."""

    def __init__(
        self,
        body: Body,
        name: str,
        kind: Kind,
        *,
        outputs: int = 1,
        frames: int = 1,
        side: int = 224,
        seed: int = 0,
    ) -> None:
        """Join: ``name`` is a decoder for masks, else "linear", "mlp", "rnn", "lstm" or "gru". ``side``: of the frames."""
        super().__init__()
        self.body, self.kind, self.frozen = body, kind, False
        self.shape(name, outputs=outputs, frames=frames, side=side, seed=seed)

    def shape(self, name: str, *, outputs: int, frames: int, side: int, seed: int) -> None:
        """Put a new head on the body; its first weights are decided by ``seed``."""
        size = self.body.size if self.body.fixed else side
        blank = next(self.body.parameters()).new_zeros(1, 3, size, size)
        mode = self.body.training
        with torch.no_grad():
            maps, vector = self.body.eval()(blank)
        self.body.train(mode)
        with seeded(seed):
            if self.kind is Kind.MASK:
                head, picked = _mask_head(name, maps, side)
            else:
                head, picked = VectorHead(name, vector.shape[1], outputs, frames=frames), ()
        self.picked: tuple[int, ...] = picked
        self.head: nn.Module = head.to(blank.device)
        self.side, self.fresh = side, True

    def freeze(self) -> None:
        """Keep the body as it is: no gradients, eval mode whatever mode the rest is in."""
        self.frozen = True
        self.body.requires_grad_(False).eval()

    def unfreeze(self) -> None:
        """Train the body again."""
        self.frozen = False
        self.body.requires_grad_(True).train(self.training)

    def train(self, mode: bool = True) -> Network:
        """Set the mode of the head, and of the body unless it is frozen."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    def features(self, x: Tensor) -> list[Tensor]:
        """What the head sees of frames (n, 3, h, w) or clips (n, t, 3, h, w) in [0, 1]; half precision where frozen."""
        clip = x[:, None] if x.ndim == 4 else x
        if self.kind is Kind.MASK and clip.shape[1] != 1:
            raise UnsupportedOptionError(
                f"Segmentation takes single frames (n, 3, h, w); got clips of {clip.shape[1]}."
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps, vector = self.body(clip.flatten(0, 1))
        if self.kind is Kind.MASK:
            found = [maps[i] for i in self.picked]
        else:
            found = [vector.unflatten(0, (len(clip), clip.shape[1]))]
        return [m.clamp(-6e4, 6e4).half().float() for m in found] if self.frozen else found

    def forward(self, x: Tensor) -> Tensor:
        """Logits on the grid (n, grid, grid), class logits (n, classes), or values (n,)."""
        return self.head(self.features(x))  # type: ignore[no-any-return]

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """Probability of the structure at every pixel (n, h, w), of each class (n, classes), or the value (n,)."""
        said = self.eval()(x)
        if self.kind is Kind.VALUE:
            return said  # type: ignore[no-any-return]
        if self.kind is not Kind.MASK:
            return said.softmax(dim=1)  # type: ignore[no-any-return]
        full = functional.interpolate(
            said[:, None], size=x.shape[-2:], mode="bilinear", align_corners=False
        )
        return full[:, 0].sigmoid()


@dataclass
class Examples:
    """Rows of one or more map-style data sets of (tensor, answer), held once read while they fit ``budget`` bytes.

    ``normalized``: whether ImageNet's mean and deviation were applied to the tensors; they are undone. Frames of etab's own
    data sets are held as the bytes they come from.
    """

    sets: Sequence[Any]
    normalized: bool
    budget: int = BUDGET
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._edges = np.cumsum([0, *[len(s) for s in self.sets]])
        self._held: dict[int, tuple[Tensor, Any]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return int(self._edges[-1])

    def part(self, which: int) -> IntArray:
        """Rows of one of the data sets."""
        return np.arange(self._edges[which], self._edges[which + 1])

    def _row(self, row: int) -> tuple[Tensor, Any]:
        if row in self._held:
            return self._held[row]
        which = int(np.searchsorted(self._edges, row, side="right")) - 1
        x, y = self.sets[which][int(row - self._edges[which])]
        unit = unit_scale(x, normalized=self.normalized)
        if isinstance(self.sets[which], Items):
            unit = (unit[..., 0, :, :] * 255).round().to(torch.uint8)
        size = unit.numel() * unit.element_size() + (
            y.numel() * y.element_size() if isinstance(y, Tensor) else 8
        )
        if self._bytes + size <= self.budget:
            self._held[row], self._bytes = (unit, y), self._bytes + size
        return unit, y

    def inputs(self, rows: IntArray) -> Tensor:
        """Frames (n, 3, h, w) or clips (n, t, 3, h, w) in [0, 1]."""
        x = torch.stack([self._row(int(r))[0] for r in rows]).to(self.device)
        if x.dtype is not torch.uint8:
            return x
        return (x.float() / 255).unsqueeze(-3).expand(*x.shape[:-2], 3, *x.shape[-2:])

    def answers(self, rows: IntArray) -> Tensor:
        """The answers as one tensor: (n,), or masks (n, h, w)."""
        found = torch.stack([torch.as_tensor(self._row(int(r))[1]) for r in rows]).to(self.device)
        return found[:, 0] if found.ndim == 4 else found


def unit_scale(x: Tensor, *, normalized: bool) -> Tensor:
    """Frames (..., 3, h, w) in [0, 1]: ImageNet's normalisation undone where it was applied."""
    if not normalized:
        return x.float()
    mean, std = (x.new_tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return x.float() * std + mean


class _Said:
    """What a frozen body says of rows, once each, in half precision, while it fits the budget."""

    def __init__(self, network: Network, examples: Examples, rows: int, budget: int) -> None:
        self.network, self.examples = network, examples
        self.rows, self.budget = rows, budget
        self.held: dict[int, list[Tensor]] = {}
        self.holds = network.frozen

    def __call__(self, rows: IntArray) -> list[Tensor]:
        missing = [int(r) for r in rows if int(r) not in self.held]
        if not self.holds or (missing and not self._room(missing)):
            return self.network.features(self.examples.inputs(rows))
        if missing:
            for row, parts in zip(missing, zip(*self._ask(missing), strict=True), strict=True):
                self.held[row] = [p.half().clone() for p in parts]
        each = [self.held[int(r)] for r in rows]
        return [torch.stack([row[k] for row in each]).float() for k in range(len(each[0]))]

    def _ask(self, rows: Sequence[int]) -> list[Tensor]:
        return self.network.features(self.examples.inputs(np.asarray(rows)))

    def _room(self, missing: Sequence[int]) -> bool:
        if not self.held:
            self.holds = (
                self.rows * sum(2 * p.numel() for p in self._ask(missing[:1])) <= self.budget
            )
        return self.holds


def fit(
    network: Network,
    examples: Examples,
    rows: IntArray,
    validation: IntArray,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    budget: int = BUDGET,
    augment: str = "none",
) -> Progress:
    """Train the head, and the body unless it is frozen, stopping by the validation rows' loss.

    A head that is new is standardised first, from training rows. ``augment`` "clinical" shows another plausible recording of
    every training row each time (``etab.augment``), of a frozen body too, which is then asked again each time. Raises what
    ``etab.training.train`` raises, and UnsupportedOptionError for an unknown augmentation or pictures in colour.
    """
    if augment not in AUGMENTATIONS:
        raise UnsupportedOptionError(
            f"No augmentation is called {augment!r}: {', '.join(AUGMENTATIONS)}."
        )
    said = _Said(network, examples, len(rows) + len(validation), budget)
    if network.fresh:
        _prepare(network, examples, rows, said)

    def loss(some: IntArray) -> Tensor:
        if augment == "none" or not network.training:
            return _loss(network, network.head(said(some)), examples.answers(some))
        x, y = _changed(network, examples.inputs(some), examples.answers(some))
        return _loss(network, network.head(network.features(x)), y)

    about = {} if augment == "none" else {"augment": augment}
    return train(network, loss, rows, validation, recipe, folder=folder, report=report, about=about)


def _changed(network: Network, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Frames or clips in [0, 1] as another recording would show them, with their masks."""
    clip = x[:, None] if x.ndim == 4 else x
    grey = clip[:, :, :1]
    if not torch.allclose(grey.expand_as(clip), clip, atol=1e-3):
        raise UnsupportedOptionError(
            "augment='clinical' is of grey ultrasound; these pictures have colours."
        )
    masks = y[:, None].float() if network.kind is Kind.MASK else None
    moved, masks = clinical(grey, masks)
    moved = moved.expand_as(clip)
    return moved if x.ndim == 5 else moved[:, 0], y if masks is None else masks[:, 0]


def _prepare(network: Network, examples: Examples, rows: IntArray, said: _Said) -> None:
    """Set what a new head standardises by, from the first training rows as the body sees them now."""
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _FIRST_LOOK)).astype(int)]
    network.eval()
    with torch.no_grad():
        blocks = [said(some[i : i + _CHUNK]) for i in range(0, len(some), _CHUNK)]
        head: Any = network.head
        if network.kind is not Kind.MASK:
            head.standardise(torch.cat([b[0] for b in blocks]))
            if network.kind is Kind.VALUE:
                head.scale_answers(examples.answers(rows).float())
            network.fresh = False
            return
        from etab.heads.networks import resample

        for level in range(len(network.picked)):
            maps = torch.cat([resample(b[level], head.sides[level]) for b in blocks])
            head.standardise(
                level,
                maps.mean(dim=(0, 2, 3)),
                maps.std(dim=(0, 2, 3), correction=0).clamp_min(1e-4),
            )
    network.fresh = False


def _loss(network: Network, said: Tensor, answers: Tensor) -> Tensor:
    if network.kind is Kind.MASK:
        from etab.heads import networks

        share = functional.interpolate(answers[:, None].float(), size=said.shape[-2:], mode="area")[
            :, 0
        ]
        return networks.loss(said, share)
    if network.kind is Kind.VALUE:
        spread: Any = network.head.spread
        error: Tensor = (said - answers.float()) / spread
        return error.square().mean()
    found: Tensor = functional.cross_entropy(said, answers.long())
    return found
