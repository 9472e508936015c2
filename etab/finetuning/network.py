"""Backbone and head as one torch module, trained end to end by the one loop, or with the backbone
frozen.

The body hears frames in [0, 1] and normalises by its own card. Frozen means frozen: no gradient, no
drop-out, and the running statistics of batch norm stand still; what it says of a row is then
computed once and kept, where it fits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.errors import UnsupportedOptionError
from etab.heads.masks import networks
from etab.heads.masks.decoders import choose_levels, refuse_maps, sides_of
from etab.heads.probabilities import class_probabilities
from etab.training.loop import seeded
from etab.types import Kind

if TYPE_CHECKING:
    from etab.backbones.image.networks import TorchBackbone

_CHUNK = 16


class Body(nn.Module):
    """The network of a loaded backbone with its taps: frames (n, 3, h, w) in [0, 1] to maps, fine
    to coarse, and a vector.
    """

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
        """Maps (n, c, h, w) of every tapped layer, and the mean of the last (with its class token)
        as (n, d).
        """
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
    """Taps on a copy of a backbone's network: the last four resolutions from stride 4 on, or its
    own where it has no more.
    """
    from etab.backbones.image import networks as vision
    from etab.backbones.image import taps as tapping

    if hasattr(network, "forward_intermediates"):
        at = tapping.timm_indices(network, 4, finest=4)
        return vision.timm_taps(network, at, [str(i) for i in at])
    if backbone.card.source == "segmentation_models_pytorch":
        return lambda x: [("", grid, None) for grid in network(x)[-4:]]
    stages = tapping.deepest(tapping.stages_of(network, backbone.card.size), 4)
    if not stages:
        raise UnsupportedOptionError(
            f"{backbone.card.name} shows no square feature map (n, c, h, w) to put a head on."
        )
    return tapping.stage_taps(network, stages, tapping.layer_names(stages))


class VectorHead(nn.Module):
    """Vectors of a frame or of the frames of a clip (n, t, d), standardised, to (n, outputs).

    "linear" and "mlp" see the ``frames`` frames side by side; "rnn", "lstm" and "gru" read clips of
    any length and answer from their last state.
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
    from etab.heads.masks.networks import SegmentationNetwork

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
        """Join: ``name`` is a decoder for masks, else "linear", "mlp", "rnn", "lstm" or "gru".
        ``side``: of the frames.
        """
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
                head = VectorHead(name, vector.shape[1], outputs, frames=frames)
                picked = ()
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
        """What the head sees of frames (n, 3, h, w) or clips (n, t, 3, h, w) in [0, 1]; half
        precision where frozen.
        """
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
        """Probability of the structure at every pixel (n, h, w), of each class (n, classes), or the
        value (n,).

        Probabilities of classes are float64 and on the CPU: in float32 those near 1 would be equal.
        """
        said = self.eval()(x)
        if self.kind is Kind.VALUE:
            return said  # type: ignore[no-any-return]
        if self.kind is not Kind.MASK:
            return torch.from_numpy(class_probabilities(said.float().cpu().numpy()))
        full = functional.interpolate(
            said[:, None], size=x.shape[-2:], mode="bilinear", align_corners=False
        )
        return full[:, 0].sigmoid()


FINER = 2


def blocks_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of a network in order, by name: the parts of the sequence that holds most of its
    parameters.
    """

    def size(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    found: list[tuple[str, nn.Module]] = []
    for name, module in network.named_modules():
        parts = [(k, m) for k, m in module.named_children() if size(m)]
        lists = isinstance(module, nn.Sequential | nn.ModuleList) or module is network
        if lists and len(parts) > 1 and (not found or 2 * size(module) > size(network)):
            found = [(f"{name}.{k}" if name else k, m) for k, m in parts]
            if max(size(m) for _, m in parts) < 0.8 * size(network):
                break
    return found


def freeze_before(body: Body, last: int | None) -> list[nn.Module]:
    """Train the last blocks of a body and whatever follows them (None: all of it, 0: nothing);
    gives what stands still.

    Raises UnsupportedOptionError where it has no more blocks than ``last``.
    """
    body.requires_grad_(True)
    if last is None:
        return []
    if last == 0:
        body.requires_grad_(False)
        return list(body.modules())
    blocks = blocks_of(body.network)
    if not last < len(blocks):
        raise UnsupportedOptionError(
            f"This backbone has {len(blocks)} blocks to train the last of; got {last}. Take 1 to {len(blocks) - 1}, or "
            "finetune for all of it."
        )
    first = f"{blocks[-last][0]}."
    free = False
    for name, parameter in body.network.named_parameters():
        free = free or name.startswith(first)
        parameter.requires_grad_(free)
    still = [m for m in body.network.modules() if not any(p.requires_grad for p in m.parameters())]
    return still


class TunedNetwork(nn.Module):
    """A body of which some trains, and a head: frames (n, k, 1, side, side) in [0, 1] to logits or
    values.

    Masks: (n, structures, g, g), one channel a structure, from single frames (k = 1). Classes: (n,
        classes). Values: (n,).
    """

    def __init__(
        self,
        body: Body,
        head: str,
        kind: Kind,
        *,
        outputs: int,
        frames: int,
        side: int,
        last: int | None,
        seed: int,
    ) -> None:
        """Join ``body`` and a new head whose first weights ``seed`` decides; ``last``: see
        ``freeze_before``.
        """
        super().__init__()
        self.body, self.kind, self.side = body, kind, side
        self.still = freeze_before(body, last)
        size = body.size if body.fixed else side
        with torch.no_grad():
            maps, vector = body.eval()(torch.zeros(1, 3, size, size))
        self.picked: tuple[int, ...] = ()
        with seeded(seed):
            if kind is Kind.MASK:
                self.head: nn.Module = self._decoder(head, maps, outputs)
            else:
                self.head = VectorHead(head, vector.shape[1], outputs, frames=frames)
        self.to(memory_format=torch.channels_last)

    def _decoder(self, name: str, maps: Sequence[Tensor], outputs: int) -> nn.Module:
        refuse_maps(name, maps)
        grid = max(16, 8 * round(self.side / 32))
        shapes = [tuple(m.shape) for m in maps]
        self.picked = choose_levels(shapes, grid)
        channels = [maps[i].shape[1] for i in self.picked]
        sides = sides_of(name, shapes, grid)
        return networks.SegmentationNetwork(
            name, channels, grid=grid, outputs=outputs, finer=FINER, sides=sides
        )

    @property
    def grid(self) -> int:
        """Points a side of the answer in masks."""
        head: Any = self.head
        return int(head.grid) * FINER

    def train(self, mode: bool = True) -> TunedNetwork:
        """Set the mode of all that trains; what stands still keeps its statistics."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self

    def features(self, frames: Tensor) -> list[Tensor]:
        """What the head sees."""
        flat = (
            frames.flatten(0, 1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        )
        maps, vector = self.body(flat)
        if self.kind is Kind.MASK:
            return [maps[i].float() for i in self.picked]
        return [vector.float().unflatten(0, frames.shape[:2])]

    def forward(self, frames: Tensor) -> Tensor:
        """Logits or values, float32."""
        said: Tensor = self.head(self.features(frames)).float()
        return said[:, None] if self.kind is Kind.MASK and said.ndim == 3 else said

    @torch.no_grad()
    def prepare(self, frames: Tensor, answers: Tensor | None) -> None:
        """Standardise a new head by frames of training rows (n, k, 1, side, side), and by all their
        values.
        """
        self.eval()
        blocks = [self.features(frames[i : i + 16]) for i in range(0, len(frames), 16)]
        head: Any = self.head
        if self.kind is not Kind.MASK:
            head.standardise(torch.cat([b[0] for b in blocks]))
            if self.kind is Kind.VALUE and answers is not None:
                head.scale_answers(answers)
            return
        for level in range(len(self.picked)):
            maps = torch.cat([networks.resize_map(b[level], head.sides[level]) for b in blocks])
            head.standardise(
                level,
                maps.mean(dim=(0, 2, 3)),
                maps.std(dim=(0, 2, 3), correction=0).clamp_min(1e-4),
            )


def answer_loss(network: TunedNetwork, said: Tensor, answers: Tensor) -> Tensor:
    """Mean loss of rows. Masks that nobody drew are NaN in ``answers`` (n, structures, g, g) and do
    not count.
    """
    if network.kind is Kind.MASK:
        known = ~answers.isnan().flatten(2).any(dim=2)
        return networks.mask_loss(said[known], answers[known])
    if network.kind is Kind.VALUE:
        spread: Any = network.head.spread
        error: Tensor = (said - answers.float()) / spread
        return error.square().mean()
    return functional.cross_entropy(said, answers.long())
