"""A small U-Net over time that predicts the state of the heart at 50 Hz from a series.

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
# Longest duration of a state in frames at 50 Hz.
LONGEST = 95
# Number of halvings of time; lengths are multiples of 2 to this power.
UNET_DEPTH = 4
GRAIN = 1 << UNET_DEPTH


class Block(nn.Module):
    """Two convolutions over time with group norm, the second one residual."""

    def __init__(
        self,
        inside: int,
        width: int,
        kernel: int,
        dropout: float,
    ) -> None:
        """Build the block.

        Args:
            inside: Number of input channels.
            width: Number of output channels, a multiple of 8.
            kernel: Length of the convolutions in frames, odd.
            dropout: Share of values that are dropped in training.
        """
        super().__init__()
        self.first = nn.Conv1d(inside, width, kernel, padding=kernel // 2)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.norms = nn.ModuleList([nn.GroupNorm(8, width), nn.GroupNorm(8, width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: (n, inside, frames).

        Returns:
            (n, width, frames).
        """
        x = functional.gelu(self.norms[0](self.first(x)))
        second = self.second(self.dropout(x))
        out: Tensor = x + functional.gelu(self.norms[1](second))
        return out


class StateUNet(nn.Module):
    """Four halvings of time and back: the output of a frame depends on about 8 s around it."""

    def __init__(
        self,
        channels: int,
        *,
        width: int = 32,
        kernel: int = 5,
        dropout: float = 0.2,
    ) -> None:
        """Build the network.

        Args:
            channels: Number of channels of the series.
            width: Channels at 50 Hz; each level adds half of it.
            kernel: Length of the convolutions in frames, odd.
            dropout: Share of values that are dropped in training.
        """
        super().__init__()
        self.channels = channels
        self.width = width
        widths = [width + level * (width // 2) for level in range(UNET_DEPTH + 1)]
        down = []
        for inside, outside in zip([channels, *widths[:-1]], widths, strict=True):
            down.append(Block(inside, outside, kernel, dropout))
        up = []
        for level in range(UNET_DEPTH):
            inside = widths[level] + widths[level + 1]
            up.append(Block(inside, widths[level], kernel, dropout))
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList(up)
        self.answer = nn.Conv1d(width, N_STATES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of the states.

        Args:
            x: Series (n, channels, frames); the number of frames is a multiple of 16.

        Returns:
            (n, 4, frames).
        """
        levels = []
        for level, block in enumerate(self.down):
            if level:
                x = functional.avg_pool1d(x, 2)
            x = block(x)
            levels.append(x)
        for level in reversed(range(UNET_DEPTH)):
            doubled = functional.interpolate(x, scale_factor=2.0)
            x = self.up[level](torch.cat([levels[level], doubled], dim=1))
        logits: Tensor = self.answer(x)
        return logits


def crops(
    series: Sequence[FloatArray],
    states: Sequence[IntArray],
    frames: int,
    *,
    varied: bool,
) -> tuple[Tensor, Tensor]:
    """Make one crop of each recording.

    Args:
        series: (k_i, channels) of each recording at 50 Hz.
        states: (k_i,) of each recording, -1 where not annotated.
        frames: Length of a crop.
        varied: Whether a crop is drawn around an annotated frame with torch's generator, stretched
            in time by up to a quarter, with noise and with a few neighbouring channels set to 0.
            Otherwise it is the unchanged crop around the median annotated frame.

    Returns:
        (crops, states): (n, channels, frames) float32, and (n, frames), -1 outside the recording.
    """
    xs = torch.zeros(len(series), series[0].shape[1], frames)
    ys = torch.full((len(series), frames), -1, dtype=torch.int64)
    for i, (x, y) in enumerate(zip(series, states, strict=True)):
        chance = torch.rand(4).tolist() if varied else [0.5] * 4
        annotated = np.flatnonzero(y >= 0)
        stretch = 1.0
        middle = int(np.median(annotated))
        before = frames / 2
        if varied:
            stretch = 0.8 * 1.5625 ** chance[0]
            middle = annotated[int(chance[1] * (len(annotated) - 1))]
            before = frames * chance[2]
        position = middle + stretch * (np.arange(frames) - before)
        last = len(x) - 1
        inside = (position >= 0) & (position <= last)
        low = np.clip(np.floor(position).astype(np.int64), 0, last)
        high = np.minimum(low + 1, last)
        part = (position - np.floor(position))[:, None]
        between = x[low] * (1 - part) + x[high] * part
        crop = np.where(inside[:, None], between, 0.0)
        xs[i] = torch.from_numpy(np.ascontiguousarray(crop.T, dtype=np.float32))
        nearest = y[np.where(part[:, 0] < 0.5, low, high)]
        ys[i] = torch.from_numpy(np.where(inside, nearest, -1))
    if varied:
        xs = _disturbed(xs)
    return xs, ys


def _disturbed(x: Tensor) -> Tensor:
    """Crops (n, channels, frames) with other gains, offsets and noise, and some channels 0."""
    n, channels, _ = x.shape
    gain = 1 + 0.2 * torch.randn(n, channels, 1)
    offset = 0.2 * torch.randn(n, channels, 1)
    noise = 0.3 * torch.rand(n, 1, 1) * torch.randn_like(x)
    x = x * gain + offset + noise
    first = torch.randint(0, channels, (n, 1))
    widest = max(channels // 4, 1)
    width = torch.randint(0, widest + 1, (n, 1))
    channel = torch.arange(channels)[None]
    is_silent = (channel >= first) & (channel < first + width)
    return x * (~is_silent)[..., None]


def labelling_loss(logits: Tensor, states: Tensor) -> Tensor:
    """Compute the mean cross-entropy over annotated frames, with labels smoothed by a twentieth.

    Args:
        logits: (n, 4, frames).
        states: (n, frames), -1 where not annotated.
    """
    return functional.cross_entropy(
        logits,
        states,
        ignore_index=-1,
        label_smoothing=0.05,
    )


def log_posteriors(networks: Sequence[StateUNet], series: FloatArray) -> FloatArray:
    """Compute log-probabilities of the states of a whole recording.

    Args:
        networks: The networks, whose probabilities are averaged.
        series: (frames, channels) at 50 Hz.

    Returns:
        (frames, 4) float64.
    """
    n = len(series)
    padded = -(-n // GRAIN) * GRAIN
    x = torch.zeros(1, series.shape[1], padded)
    x[0, :, :n] = torch.from_numpy(np.ascontiguousarray(series.T, dtype=np.float32))
    probabilities = []
    with torch.inference_mode():
        for network in networks:
            logits = network(x)[0, :, :n]
            probabilities.append(functional.softmax(logits, dim=0))
        mean = torch.stack(probabilities).mean(dim=0)
    log_p = torch.log(mean.clamp_min(1e-6))
    return np.asarray(log_p.T.double().numpy())


@dataclass(frozen=True, slots=True)
class StateModel:
    """A fitted model; ``predict`` returns the states of an unseen recording.

    Attributes:
        networks: Networks whose probabilities are averaged.
        durations: (4, longest) log-probabilities of durations of 1, 2, ... frames at 50 Hz.
    """

    networks: tuple[StateUNet, ...]
    durations: FloatArray

    def predict(self, series: FloatArray) -> IntArray:
        """Predict the states of a recording, in the order of the heart.

        Args:
            series: (n, channels) at 50 Hz.

        Returns:
            (n,) states, 0 to 3.

        Raises:
            UndefinedError: The series has another number of channels, values that are not finite,
                or fewer frames than a state can last.
        """
        wanted = self.networks[0].channels
        if series.ndim != 2 or series.shape[1] != wanted:
            raise UndefinedError(
                f"A series of shape {series.shape}; wanted (n, {wanted}) at 50 Hz."
            )
        if not np.isfinite(series).all():
            raise UndefinedError("This series holds values that are not finite. Make it again.")
        log_p = log_posteriors(self.networks, series)
        states, _, _ = viterbi(log_p, [self.durations])
        return states

    def save(self, folder: Path) -> None:
        """Write weights and durations with a checksum.

        Args:
            folder: The folder of the checkpoint.

        Raises:
            StorageError: The folder cannot be written.
        """
        tensors = {}
        for i, network in enumerate(self.networks):
            for key, tensor in network.state_dict().items():
                tensors[f"{i}/{key}"] = tensor
        tensors["durations"] = torch.from_numpy(np.ascontiguousarray(self.durations))
        first = self.networks[0]
        facts = {
            "networks": len(self.networks),
            "channels": first.channels,
            "width": first.width,
        }
        state = {"progress": asdict(Progress()), "states": facts}
        write_checkpoint(folder, state, tensors)

    @classmethod
    def load(cls, folder: Path) -> StateModel:
        """Read a model that ``save`` wrote.

        Args:
            folder: The folder of the checkpoint.

        Raises:
            CorruptFileError: A file cannot be read.
            WeightsError: The checkpoint is of another model.
        """
        state, tensors = read_checkpoint(folder)
        facts = state.get("states")
        if facts is None:
            raise WeightsError(
                f"The checkpoint in {folder} is not of a state_unet. Name the folder of one."
            )
        networks = []
        for i in range(int(facts["networks"])):
            network = StateUNet(int(facts["channels"]), width=int(facts["width"]))
            prefix = f"{i}/"
            of_network = {}
            for key, tensor in tensors.items():
                if key.startswith(prefix):
                    of_network[key.removeprefix(prefix)] = tensor
            fit_state(network, of_network, str(folder))
            networks.append(network.eval())
        return cls(tuple(networks), tensors["durations"].numpy())


def learn_durations(states: Sequence[IntArray]) -> FloatArray:
    """Learn the log-probabilities of durations from the whole stretches of training recordings.

    Each stretch is a normal distribution with a deviation of 15 % of the mean duration, and 1.5
    frames at least. No state lasts a single frame, or longer than LONGEST.

    Args:
        states: (n_i,) of each recording, -1 where not annotated.

    Returns:
        (4, LONGEST): log-probability that a state lasts 1, 2, ... frames.

    Raises:
        UndefinedError: A state has no whole stretch.
    """
    frames = np.arange(1, LONGEST + 1)
    table = np.full((N_STATES, LONGEST), -np.inf)
    for state in range(N_STATES):
        seconds: list[float] = []
        for answer in states:
            seconds += stretches(answer, state)
        lengths = np.array(seconds) * STATE_RATE
        if not len(lengths):
            raise UndefinedError(
                f"State {state} has not one whole stretch in training. Annotate more recordings."
            )
        deviation = max(1.5, 0.15 * lengths.mean())
        away = (frames[:, None] - lengths) / deviation
        weight = np.exp(-0.5 * away**2).sum(axis=1) + 1e-9
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
    """Train one network for each validation part, and learn durations.

    Args:
        series: (k_i, channels) of each recording at 50 Hz.
        states: (k_i,) of each recording, -1 where not annotated.
        rows: Training recordings; durations are learned from all of them.
        parts: The validation part of each network, which it is not trained on.
        recipe: How to train; each network has a seed of its own.
        width: Channels of the networks at 50 Hz.
        frames: Length of a crop.
        repeats: Number of crops of each recording in an epoch.

    Returns:
        (model, progress): the fitted model, and how the training of each network went.
    """
    networks = []
    progress = []
    for i, part in enumerate(parts):
        seed = recipe.seed + i
        with seeded(seed):
            network = StateUNet(series[0].shape[1], width=width)
        inside = np.setdiff1d(rows, part)
        tickets = (inside[:, None] * repeats + np.arange(repeats)).ravel()

        def of(batch: IntArray, network: StateUNet = network) -> Tensor:
            recordings = batch // repeats
            x, y = crops(
                [series[j] for j in recordings],
                [states[j] for j in recordings],
                frames,
                varied=network.training,
            )
            return labelling_loss(network(x), y)

        done = train(
            network,
            of,
            tickets,
            part * repeats,
            replace(recipe, seed=seed),
        )
        progress.append(done)
        networks.append(network)
    durations = learn_durations([states[j] for j in rows])
    return StateModel(tuple(networks), durations), progress
