"""A small U-Net in time that gives the state of the heart at 50 Hz from a series of a recording.

Imported only by the head that trains it, since it needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.errors import UndefinedError, WeightsError
from etab.heads.states.hsmm import stretches
from etab.sounds.semimarkov import viterbi
from etab.sounds.states import STATE_RATE
from etab.training.loop import (
    Progress,
    Recipe,
    fit_state,
    read_checkpoint,
    seeded,
    train,
    write_checkpoint,
)
from etab.types import FloatArray, IntArray

N_STATES = 4
LONGEST = 95
UNET_DEPTH = 4
GRAIN = 1 << UNET_DEPTH


class Block(nn.Module):
    """Two convolutions in time (``kernel`` frames) with group norm; the second on top of what came
    in.
    """

    def __init__(
        self,
        inside: int,
        width: int,
        kernel: int,
        dropout: float,
    ) -> None:
        """``width`` channels, a multiple of 8."""
        super().__init__()
        self.first = nn.Conv1d(inside, width, kernel, padding=kernel // 2)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.norms = nn.ModuleList([nn.GroupNorm(8, width), nn.GroupNorm(8, width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, frames) -> (n, width, frames)."""
        x = functional.gelu(self.norms[0](self.first(x)))
        found: Tensor = x + functional.gelu(self.norms[1](self.second(self.dropout(x))))
        return found


class StateUNet(nn.Module):
    """Four halvings of time and back: every frame sees about 8 s around it."""

    def __init__(
        self,
        channels: int,
        *,
        width: int = 32,
        kernel: int = 5,
        dropout: float = 0.2,
    ) -> None:
        """``channels`` of the series; ``width`` at 50 Hz, growing by half of it a level."""
        super().__init__()
        self.channels, self.width = channels, width
        widths = [width + level * (width // 2) for level in range(UNET_DEPTH + 1)]
        self.down = nn.ModuleList(
            [
                Block(a, b, kernel, dropout)
                for a, b in zip([channels, *widths[:-1]], widths, strict=True)
            ]
        )
        self.up = nn.ModuleList(
            [
                Block(widths[k] + widths[k + 1], widths[k], kernel, dropout)
                for k in range(UNET_DEPTH)
            ]
        )
        self.answer = nn.Conv1d(width, N_STATES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Series (n, channels, frames), frames a multiple of 16, to logits (n, 4, frames)."""
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.avg_pool1d(x, 2))
            kept.append(x)
        for level in range(UNET_DEPTH - 1, -1, -1):
            x = self.up[level](
                torch.cat([kept[level], functional.interpolate(x, scale_factor=2.0)], dim=1)
            )
        found: Tensor = self.answer(x)
        return found


def crops(
    series: Sequence[FloatArray],
    states: Sequence[IntArray],
    frames: int,
    *,
    varied: bool,
) -> tuple[Tensor, Tensor]:
    """A crop of each recording: (n, channels, frames) float32 and states (n, frames), -1 where
    there is nothing.

    varied: drawn with torch's generator around an annotated frame, stretched in time by up to a
    fifth, with noise, and with a few neighbouring channels silenced; else the crop with the most
    annotated frames, as it is.
    """
    xs = torch.zeros(len(series), series[0].shape[1], frames)
    ys = torch.full((len(series), frames), -1, dtype=torch.int64)
    for i, (x, y) in enumerate(zip(series, states, strict=True)):
        chance = torch.rand(4).tolist() if varied else [0.5] * 4
        stretch = 0.8 * 1.5625 ** chance[0] if varied else 1.0
        where = np.flatnonzero(y >= 0)
        middle = where[int(chance[1] * (len(where) - 1))] if varied else int(np.median(where))
        at = middle + stretch * (np.arange(frames) - (frames * chance[2] if varied else frames / 2))
        inside = (at >= 0) & (at <= len(x) - 1)
        low = np.clip(np.floor(at).astype(np.int64), 0, len(x) - 1)
        high = np.minimum(low + 1, len(x) - 1)
        part = (at - np.floor(at))[:, None]
        crop = np.where(inside[:, None], x[low] * (1 - part) + x[high] * part, 0.0)
        xs[i] = torch.from_numpy(np.ascontiguousarray(crop.T, dtype=np.float32))
        ys[i] = torch.from_numpy(np.where(inside, y[np.where(part[:, 0] < 0.5, low, high)], -1))
    return (_disturbed(xs), ys) if varied else (xs, ys)


def _disturbed(x: Tensor) -> Tensor:
    n, channels, _ = x.shape
    tilt = 1 + 0.2 * torch.randn(n, channels, 1)
    x = (
        x * tilt
        + 0.2 * torch.randn(n, channels, 1)
        + 0.3 * torch.rand(n, 1, 1) * torch.randn_like(x)
    )
    first = torch.randint(0, channels, (n, 1))
    width = torch.randint(0, max(channels // 4, 1) + 1, (n, 1))
    place = torch.arange(channels)[None]
    return x * (~((place >= first) & (place < first + width)))[..., None]


def labelling_loss(logits: Tensor, states: Tensor) -> Tensor:
    """Mean cross-entropy over annotated frames (states >= 0), labels smoothed by a twentieth."""
    return functional.cross_entropy(
        logits,
        states,
        ignore_index=-1,
        label_smoothing=0.05,
    )


def log_posteriors(networks: Sequence[StateUNet], series: FloatArray) -> FloatArray:
    """Log-probabilities (frames, 4) of a whole recording (frames, channels), averaged over
    networks.
    """
    n = len(series)
    x = torch.zeros(1, series.shape[1], -(-n // GRAIN) * GRAIN)
    x[0, :, :n] = torch.from_numpy(np.ascontiguousarray(series.T, dtype=np.float32))
    with torch.inference_mode():
        mean = torch.stack(
            [functional.softmax(network(x)[0, :, :n], dim=0) for network in networks]
        ).mean(dim=0)
    return np.asarray(torch.log(mean.clamp_min(1e-6)).T.double().numpy())


@dataclass(frozen=True, slots=True)
class StateModel:
    """Networks that are averaged, and how long each state lasts: ``predict`` gives the states of an
    unseen recording.

    ``durations`` (4, longest) holds log-probabilities of 1, 2, ... frames at 50 Hz, as training
    showed them.
    """

    networks: tuple[StateUNet, ...]
    durations: FloatArray

    def predict(self, series: FloatArray) -> IntArray:
        """States (n,) 0 to 3 of a series (n, channels) at 50 Hz, in the order of the heart.

        Raises UndefinedError for another number of channels, values that are not finite, or fewer
        frames than a state can last.
        """
        wanted = self.networks[0].channels
        if series.ndim != 2 or series.shape[1] != wanted:
            raise UndefinedError(
                f"A series of shape {series.shape}; wanted (n, {wanted}) at 50 Hz."
            )
        if not np.isfinite(series).all():
            raise UndefinedError("This series holds values that are not finite. Make it again.")
        return viterbi(log_posteriors(self.networks, series), [self.durations])[0]

    def save(self, folder: Path) -> None:
        """Write weights and durations, with a checksum. Raises StorageError."""
        tensors = {
            f"{i}/{k}": v
            for i, network in enumerate(self.networks)
            for k, v in network.state_dict().items()
        }
        tensors["durations"] = torch.from_numpy(np.ascontiguousarray(self.durations))
        first = self.networks[0]
        facts = {
            "networks": len(self.networks),
            "channels": first.channels,
            "width": first.width,
        }
        write_checkpoint(folder, {"progress": asdict(Progress()), "states": facts}, tensors)

    @classmethod
    def load(cls, folder: Path) -> StateModel:
        """What ``save`` wrote. Raises CorruptFileError, or WeightsError for another model."""
        state, tensors = read_checkpoint(folder)
        facts = state.get("states")
        if facts is None:
            raise WeightsError(
                f"The checkpoint in {folder} is not of a state_unet. Name the folder of one."
            )
        networks = []
        for i in range(int(facts["networks"])):
            network = StateUNet(int(facts["channels"]), width=int(facts["width"]))
            own = {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{i}/")}
            fit_state(network, own, str(folder))
            networks.append(network.eval())
        return cls(tuple(networks), tensors["durations"].numpy())


def learn_durations(states: Sequence[IntArray]) -> FloatArray:
    """Log-probability (4, longest) that a state lasts 1, 2, ... frames: whole stretches of
    training, smoothed.

    Each stretch is a normal bump of 15 % of the mean length (1.5 frames at least). Nothing lasts a
    single frame, nor longer than LONGEST. Raises UndefinedError when a state has not one whole
    stretch.
    """
    frames = np.arange(1, LONGEST + 1)
    table = np.full((N_STATES, LONGEST), -np.inf)
    for state in range(N_STATES):
        lasts = np.array([v for s in states for v in stretches(s, state)]) * STATE_RATE
        if not len(lasts):
            raise UndefinedError(
                f"State {state} has not one whole stretch in training. Annotate more recordings."
            )
        weight = (
            np.exp(-0.5 * ((frames[:, None] - lasts) / max(1.5, 0.15 * lasts.mean())) ** 2).sum(
                axis=1
            )
            + 1e-9
        )
        weight[0] = 0.0
        table[state, 1:] = np.log(weight[1:] / weight.sum())
    return table


def fit_networks(
    series: Sequence[FloatArray],
    states: Sequence[IntArray],
    rows: IntArray,
    parts: Sequence[IntArray],
    recipe: Recipe,
    *,
    width: int,
    frames: int,
    repeats: int,
) -> tuple[StateModel, list[Progress]]:
    """Train one network for each validation part, on ``rows`` without it, and learn durations from
    ``rows``.

    An epoch hears ``repeats`` crops of ``frames`` frames of each recording.
    """
    networks = []
    told = []
    for i, part in enumerate(parts):
        seed = recipe.seed + i
        with seeded(seed):
            network = StateUNet(series[0].shape[1], width=width)
        inside = np.setdiff1d(rows, part)
        tickets = (inside[:, None] * repeats + np.arange(repeats)).ravel()

        def of(some: IntArray, network: StateUNet = network) -> Tensor:
            places = some // repeats
            x, y = crops(
                [series[j] for j in places],
                [states[j] for j in places],
                frames,
                varied=network.training,
            )
            return labelling_loss(network(x), y)

        told.append(train(network, of, tickets, part * repeats, replace(recipe, seed=seed)))
        networks.append(network)
    return StateModel(tuple(networks), learn_durations([states[j] for j in rows])), told
