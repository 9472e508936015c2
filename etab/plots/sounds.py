"""Pictures of heart sounds (waveform with its states, log-mel), and clips that can be heard in a notebook.

Everything takes plain arrays: samples (n,) with full scale at 1, states (k,) at 50 Hz as ``etab.sounds.states.states_at`` gives
them: 0 S1, 1 systole, 2 S2, 3 diastole, -1 unannotated.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.sounds.mel import MEL_HIGH, MEL_LOW, PICTURE, log_mel
from etab.sounds.states import STATE_RATE, STATES
from etab.types import Array, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Mapping[str, str] = MappingProxyType(
    {"S1": "#c8553d", "systole": "#f2c6a0", "S2": "#2a6f97", "diastole": "#bcd8e8"}
)
_BARE = "#f4f4f4"
_POINTS = 8000
_LOUD = 0.9
_EDGE = 0.01


def plot_states(
    samples: FloatArray,
    rate: int,
    states: Array | None = None,
    predicted: Mapping[str, Array] | None = None,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    title: str = "",
    path: Path | None = None,
) -> Figure:
    """Draw a waveform over its states, and under it a strip for the reference and for each prediction.

    samples (n,) at ``rate`` Hz; states and each of ``predicted`` (its name: states) are (k,) at 50 Hz from the beginning
    of the recording. start, seconds: the stretch that is drawn, None to the end. path: also saved there (.png, .svg,
    .pdf). Raises UnsupportedOptionError for sound or states that are not one-dimensional, states that do not fit the
    sound, or a stretch outside it.
    """
    samples = _checked(samples, rate)
    rows = {} if states is None else {"reference": np.asarray(states)}
    rows |= {name: np.asarray(found) for name, found in (predicted or {}).items()}
    for name, found in rows.items():
        _check_states(name, found, len(samples), rate)
    begin, end = _stretch(len(samples) / rate, start, seconds)
    figure = _figure(10, 2.6 + 0.34 * len(rows))
    heights = [7.0, *([1.0] * len(rows))]
    panels = figure.subplots(1 + len(rows), 1, sharex=True, squeeze=False, height_ratios=heights)[
        :, 0
    ]
    _waveform(panels[0], samples, rate, begin, end)
    if rows:
        _shade(panels[0], next(iter(rows.values())), begin, end, alpha=0.35)
    for panel, (name, found) in zip(panels[1:], rows.items(), strict=True):
        _strip(panel, name, found, begin, end)
    panels[-1].set_xlabel("time, s")
    _legend(figure, panels[0], title, bool(rows))
    return _saved(figure, path)


def plot_mel(
    samples: FloatArray,
    rate: int,
    states: Array | None = None,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    title: str = "",
    path: Path | None = None,
) -> Figure:
    """Draw the log-mel picture of a stretch, 25 to 1000 Hz, as the models see it; the strip below holds its states.

    Arguments as ``plot_states``; brightness is decibel below the loudest point of the stretch, down to -80.
    """
    samples = _checked(samples, rate)
    begin, end = _stretch(len(samples) / rate, start, seconds)
    figure = _figure(10, 3.2)
    if states is not None:
        _check_states("states", np.asarray(states), len(samples), rate)
    count = 1 if states is None else 2
    panels = figure.subplots(
        count, 1, sharex=True, squeeze=False, height_ratios=[8.0, 1.0][:count]
    )[:, 0]
    mel = log_mel(samples[round(begin * rate) : round(end * rate)], rate)
    last = begin + mel.shape[1] * max(1, round(PICTURE.hop * rate)) / rate
    shown = panels[0].imshow(
        80 * (mel - 1),
        aspect="auto",
        extent=(begin, last, 0, len(mel)),
        cmap="magma",
        vmin=-80,
        vmax=0,
        interpolation="nearest",
    )
    panels[0].set_xlim(begin, end)
    _mel_axis(panels[0], rate, len(mel))
    figure.colorbar(shown, ax=panels.tolist(), label="dB", pad=0.01)
    if states is not None:
        _strip(panels[1], "states", np.asarray(states), begin, end)
    panels[-1].set_xlabel("time, s")
    _legend(figure, panels[0], title, states is not None)
    return _saved(figure, path)


class Clip:
    """A sound that a notebook shows as a player, and that ``save`` writes as WAV: 16 bits, mono.

    ``data`` are the bytes of the WAV, ``rate`` in Hz; ``IPython.display.Audio(data=clip.data)`` plays it as well.
    """

    def __init__(self, data: bytes, rate: int) -> None:
        """Hold the bytes of a WAV."""
        self.data, self.rate = data, rate

    def save(self, path: Path) -> Path:
        """Write the WAV; returns the path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        return path

    def _repr_html_(self) -> str:
        """The player that notebooks show."""
        return f'<audio controls src="data:audio/wav;base64,{base64.b64encode(self.data).decode()}"></audio>'


def listen(
    samples: FloatArray,
    rate: int,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    gain: float | None = None,
    slower: float = 1.0,
) -> Clip:
    """Make a stretch audible; the last expression of a notebook cell shows a player.

    gain: factor of the amplitude, None makes the loudest sample 0.9 of full scale; what goes beyond it is clipped.
    slower: play at this part of the speed and pitch (2 is an octave lower). The ends are faded over 10 ms. The rate is
    raised to 8000 Hz or more, which players need. Raises UnsupportedOptionError as ``plot_states``, and for a gain or
    a speed that is not above 0.
    """
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    samples = _checked(samples, rate)
    if not (np.isfinite(slower) and slower > 0) or (
        gain is not None and not (np.isfinite(gain) and gain > 0)
    ):
        raise UnsupportedOptionError(f"gain is {gain}, slower is {slower}; wanted numbers above 0.")
    begin, end = _stretch(len(samples) / rate, start, seconds)
    cut = samples[round(begin * rate) : round(end * rate)].astype(np.float64)
    times = int(np.ceil(8000 * slower / rate))
    played = round(times * rate / slower)
    heard = resample_poly(cut, times, 1) if times > 1 else cut
    edge = min(len(heard) // 2, max(1, round(_EDGE * played)))
    fade = np.linspace(0, 1, edge, endpoint=False)
    heard[:edge] *= fade
    heard[len(heard) - edge :] *= fade[::-1]
    peak = float(np.abs(heard).max())
    factor = gain if gain is not None else (_LOUD / peak if peak > 0 else 1.0)
    buffer = io.BytesIO()
    wavfile.write(buffer, played, np.rint(np.clip(heard * factor, -1, 1) * 32767).astype(np.int16))
    return Clip(buffer.getvalue(), played)


def _checked(samples: FloatArray, rate: int) -> FloatArray:
    found = np.asarray(samples)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise UnsupportedOptionError(
            f"The sound has shape {found.shape}; wanted (n,), finite and not empty."
        )
    if not rate > 0:
        raise UnsupportedOptionError(f"rate is {rate!r} Hz; wanted a number above 0.")
    return found


def _check_states(name: str, states: Array, n: int, rate: int) -> None:
    """States that are 50 a second of this sound, up to a frame or two at its end."""
    wanted = n * STATE_RATE / rate
    if (
        states.ndim != 1
        or abs(len(states) - wanted) > 2
        or not np.isin(states, range(-1, len(STATES))).all()
    ):
        raise UnsupportedOptionError(
            f"{name} has shape {states.shape}; wanted about {wanted:.0f} states of -1 to 3, {STATE_RATE} a second of sound."
        )


def _stretch(whole: float, start: float, seconds: float | None) -> tuple[float, float]:
    end = whole if seconds is None else min(whole, start + seconds)
    if not 0 <= start < end:
        raise UnsupportedOptionError(
            f"start={start:g}, seconds={seconds} name no part of a sound of {whole:.2f} s. Choose 0 <= start < {whole:.2f}."
        )
    return start, end


def _waveform(panel: Axes, samples: FloatArray, rate: int, begin: float, end: float) -> None:
    """The waveform; of more than 8000 samples the least and largest of each piece, so that no peak is lost."""
    cut = samples[round(begin * rate) : round(end * rate)]
    step = max(1, 2 * len(cut) // _POINTS)
    if step > 1:
        pieces = cut[: len(cut) // step * step].reshape(-1, step)
        x = begin + np.arange(len(pieces)) * step / rate
        panel.fill_between(
            x, pieces.min(axis=1), pieces.max(axis=1), color="#222222", linewidth=0.4, zorder=3
        )
    else:
        panel.plot(
            begin + np.arange(len(cut)) / rate, cut, color="#222222", linewidth=0.7, zorder=3
        )
    peak = float(np.abs(cut).max()) or 1.0
    panel.set_ylim(-1.05 * peak, 1.05 * peak)
    panel.set_xlim(begin, end)
    panel.set_ylabel("amplitude")
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def runs_between(states: Array, begin: float, end: float) -> list[tuple[float, float, int]]:
    """(from s, to s, state) of each run of one state at 50 Hz that shows between ``begin`` and ``end``."""
    marks = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), len(states)]
    rows = [(a / STATE_RATE, b / STATE_RATE, int(states[a])) for a, b in pairwise(marks) if b > a]
    return [(max(a, begin), min(b, end), state) for a, b, state in rows if b > begin and a < end]


def _shade(panel: Axes, states: Array, begin: float, end: float, *, alpha: float) -> None:
    for a, b, state in runs_between(states, begin, end):
        if state >= 0:
            panel.axvspan(a, b, color=COLOURS[STATES[state]], alpha=alpha, linewidth=0)


def _strip(panel: Axes, name: str, states: Array, begin: float, end: float) -> None:
    panel.set_facecolor(_BARE)
    _shade(panel, states, begin, end, alpha=1.0)
    panel.set_yticks([])
    panel.set_ylabel(name, rotation=0, ha="right", va="center")
    panel.set_xlim(begin, end)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _mel_axis(panel: Axes, rate: int, bands: int) -> None:
    """Frequencies at the centres of their bands, which lie between ``bands`` + 2 edges even on the mel scale."""
    low, high = (np.log1p(hz / 700) for hz in (MEL_LOW, min(MEL_HIGH, rate / 2)))
    marks = [hz for hz in (50, 100, 200, 400, 800) if hz < rate / 2]
    heights = [float((np.log1p(hz / 700) - low) / (high - low)) * (bands + 1) - 0.5 for hz in marks]
    panel.set_yticks(heights, [str(hz) for hz in marks])
    panel.set_ylabel("Hz")


def _legend(figure: Figure, panel: Axes, title: str, coloured: bool) -> None:
    from matplotlib.patches import Patch

    panel.set_title(title, loc="left", fontsize=10)
    if coloured:
        handles: list[Any] = [Patch(color=COLOURS[name], label=name) for name in STATES]
        handles.append(Patch(facecolor=_BARE, edgecolor="#cccccc", label="unannotated"))
        figure.legend(
            handles=handles, loc="outside upper right", ncols=5, frameon=False, fontsize=8
        )


@cache
def _shown() -> type[Figure]:
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that a notebook shows also where nobody has imported pyplot."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Shown


def _figure(width: float, height: float) -> Figure:
    return _shown()(figsize=(width, height), layout="constrained")


def _saved(figure: Figure, path: Path | None) -> Figure:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    return figure
