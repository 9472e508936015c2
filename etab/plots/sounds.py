"""Figures of heart sounds (waveform with states, log-mel), and clips for notebooks.

All functions take plain arrays: samples of shape (n,) with full scale at 1, and states of shape
(k,) at 50 Hz as returned by ``etab.sounds.states.states_at``: 0 S1, 1 systole, 2 S2, 3 diastole,
and -1 where nothing is annotated.
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

STATE_COLOURS: Mapping[str, str] = MappingProxyType(
    {"S1": "#c8553d", "systole": "#f2c6a0", "S2": "#2a6f97", "diastole": "#bcd8e8"}
)
_UNANNOTATED_COLOUR = "#f4f4f4"
# A waveform with more samples is drawn as an envelope.
_MOST_POINTS = 8000
# Peak of a clip, as a share of full scale, and duration of the fade at its ends in seconds.
_PEAK = 0.9
_FADE_SECONDS = 0.01
# Players need at least this rate in Hz.
_LEAST_RATE = 8000


def plot_states(
    samples: FloatArray,
    rate: int,
    states: Array | None = None,
    predicted: Mapping[str, Array] | None = None,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    title: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Draw a waveform over its states, with a strip for the reference and for each prediction.

    Args:
        samples: The sound, shape (n,), full scale at 1.
        rate: Sampling rate in Hz.
        states: Reference states at 50 Hz from the beginning of the recording, shape (k,).
        predicted: Predicted states of the same form, by the name of the predictor.
        start: Beginning of the stretch to draw, in seconds.
        seconds: Duration of the stretch; None draws to the end.
        title: Title above the waveform.
        path: If given, the figure is also saved there (.png, .svg or .pdf).

    Returns:
        The figure; a notebook displays it.

    Raises:
        UnsupportedOptionError: If sound or states are not one-dimensional, the states do not fit
            the sound, or the stretch is outside it.
    """
    samples = _checked(samples, rate)
    rows = {} if states is None else {"reference": np.asarray(states)}
    for name, prediction in (predicted or {}).items():
        rows[name] = np.asarray(prediction)
    for name, row in rows.items():
        _check_states(name, row, len(samples), rate)
    begin, end = _stretch(len(samples) / rate, start, seconds)
    figure = _figure(10, 2.6 + 0.34 * len(rows))
    heights = [7.0, *([1.0] * len(rows))]
    panels = figure.subplots(
        1 + len(rows),
        1,
        sharex=True,
        squeeze=False,
        height_ratios=heights,
    )[:, 0]
    _waveform(panels[0], samples, rate, begin, end)
    if rows:
        first_states = next(iter(rows.values()))
        _shade(panels[0], first_states, begin, end, alpha=0.35)
    for panel, (name, row) in zip(panels[1:], rows.items(), strict=True):
        _strip(panel, name, row, begin, end)
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
    path: str | Path | None = None,
) -> Figure:
    """Draw the log-mel spectrogram of a stretch from 25 to 1000 Hz.

    Image backbones receive the same spectrogram as their input. Brightness is in decibel below
    the loudest point of the stretch, down to -80.

    Args:
        samples: The sound, shape (n,), full scale at 1.
        rate: Sampling rate in Hz.
        states: States at 50 Hz from the beginning of the recording, shape (k,), for a strip below.
        start: Beginning of the stretch to draw, in seconds.
        seconds: Duration of the stretch; None draws to the end.
        title: Title above the picture.
        path: If given, the figure is also saved there (.png, .svg or .pdf).

    Returns:
        The figure; a notebook displays it.

    Raises:
        UnsupportedOptionError: As for ``plot_states``.
    """
    samples = _checked(samples, rate)
    begin, end = _stretch(len(samples) / rate, start, seconds)
    figure = _figure(10, 3.2)
    if states is not None:
        _check_states("states", np.asarray(states), len(samples), rate)
    count = 1 if states is None else 2
    panels = figure.subplots(
        count,
        1,
        sharex=True,
        squeeze=False,
        height_ratios=[8.0, 1.0][:count],
    )[:, 0]
    mel = log_mel(_samples_between(samples, rate, begin, end), rate)
    hop = max(1, round(PICTURE.hop * rate))
    last = begin + mel.shape[1] * hop / rate
    image = panels[0].imshow(
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
    figure.colorbar(image, ax=panels.tolist(), label="dB", pad=0.01)
    if states is not None:
        _strip(panels[1], "states", np.asarray(states), begin, end)
    panels[-1].set_xlabel("time, s")
    _legend(figure, panels[0], title, states is not None)
    return _saved(figure, path)


class SoundClip:
    """A sound that a notebook displays as a player.

    ``IPython.display.Audio(data=clip.data)`` plays it as well.

    Attributes:
        data: The bytes of a WAV file, 16 bits, mono.
        rate: Sampling rate in Hz.
    """

    def __init__(self, data: bytes, rate: int) -> None:
        """Hold the bytes of a WAV file.

        Args:
            data: The bytes of a WAV file, 16 bits, mono.
            rate: Sampling rate in Hz.
        """
        self.data = data
        self.rate = rate

    def save(self, path: str | Path) -> Path:
        """Write the WAV file.

        Args:
            path: The file to write; its folder is created if needed.

        Returns:
            The path.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.data)
        return target

    def _repr_html_(self) -> str:
        """Return the player that a notebook displays, as HTML."""
        encoded = base64.b64encode(self.data).decode()
        return f'<audio controls src="data:audio/wav;base64,{encoded}"></audio>'


def listen(
    samples: FloatArray,
    rate: int,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    gain: float | None = None,
    slower: float = 1.0,
) -> SoundClip:
    """Make a clip of a stretch of sound.

    The last expression of a notebook cell is displayed as a player. The ends are faded over 10 ms,
    and the rate is raised to at least 8000 Hz, which players need.

    Args:
        samples: The sound, shape (n,), full scale at 1.
        rate: Sampling rate in Hz.
        start: Beginning of the stretch, in seconds.
        seconds: Duration of the stretch; None for all to the end.
        gain: Factor of the amplitude, above 0; values beyond full scale are clipped. None scales
            the loudest sample to 0.9 of full scale.
        slower: Factor by which speed and pitch are divided, above 0; 2 is an octave lower.

    Returns:
        The clip.

    Raises:
        UnsupportedOptionError: As for ``plot_states``, and if ``gain`` or ``slower`` is not a
            finite number above 0.

    Example:
        >>> tone = 0.1 * np.sin(2 * np.pi * 100 * np.arange(4000) / 4000)
        >>> listen(tone, 4000, seconds=0.5).rate
        8000
    """
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    samples = _checked(samples, rate)
    for factor in (1.0 if gain is None else gain, slower):
        if not (np.isfinite(factor) and factor > 0):
            raise UnsupportedOptionError(
                f"gain is {gain}, slower is {slower}; wanted numbers above 0."
            )
    begin, end = _stretch(len(samples) / rate, start, seconds)
    clip = _samples_between(samples, rate, begin, end).astype(np.float64)
    times = int(np.ceil(_LEAST_RATE * slower / rate))
    clip_rate = round(times * rate / slower)
    if times > 1:
        clip = resample_poly(clip, times, 1)
    edge = min(len(clip) // 2, max(1, round(_FADE_SECONDS * clip_rate)))
    fade = np.linspace(0, 1, edge, endpoint=False)
    clip[:edge] *= fade
    clip[len(clip) - edge :] *= fade[::-1]
    if gain is None:
        peak = float(np.abs(clip).max())
        gain = _PEAK / peak if peak > 0 else 1.0
    scaled = np.clip(clip * gain, -1, 1) * 32767
    whole_numbers = np.rint(scaled).astype(np.int16)
    buffer = io.BytesIO()
    wavfile.write(buffer, clip_rate, whole_numbers)
    return SoundClip(buffer.getvalue(), clip_rate)


def _checked(samples: FloatArray, rate: int) -> FloatArray:
    """Return the samples as an array; raise UnsupportedOptionError if they are not a sound."""
    sound = np.asarray(samples)
    if sound.ndim != 1 or not len(sound) or not np.isfinite(sound).all():
        raise UnsupportedOptionError(
            f"The sound has shape {sound.shape}; wanted (n,), finite and not empty."
        )
    if not rate > 0:
        raise UnsupportedOptionError(f"rate is {rate!r} Hz; wanted a number above 0.")
    return sound


def _check_states(
    name: str,
    states: Array,
    n: int,
    rate: int,
) -> None:
    """Raise UnsupportedOptionError unless there are 50 states per second of the sound, within 2."""
    expected = n * STATE_RATE / rate
    fits = states.ndim == 1 and abs(len(states) - expected) <= 2
    if not fits or not np.isin(states, range(-1, len(STATES))).all():
        raise UnsupportedOptionError(
            f"{name} has shape {states.shape}; wanted about {expected:.0f} states of -1 to 3, "
            f"{STATE_RATE} per second of sound."
        )


def _stretch(
    whole: float,
    start: float,
    seconds: float | None,
) -> tuple[float, float]:
    """Return beginning and end, in seconds, of a stretch of a sound of ``whole`` seconds."""
    end = whole if seconds is None else min(whole, start + seconds)
    if not 0 <= start < end:
        raise UnsupportedOptionError(
            f"start={start:g}, seconds={seconds} name no part of a sound of {whole:.2f} s. "
            f"Choose 0 <= start < {whole:.2f}."
        )
    return start, end


def _samples_between(samples: FloatArray, rate: int, begin: float, end: float) -> FloatArray:
    """Return the samples from ``begin`` to ``end`` seconds."""
    first = round(begin * rate)
    after_last = round(end * rate)
    return samples[first:after_last]


def _waveform(
    panel: Axes,
    samples: FloatArray,
    rate: int,
    begin: float,
    end: float,
) -> None:
    """Draw the waveform; a long one by the extremes of each piece, so that its peaks remain."""
    cut = _samples_between(samples, rate, begin, end)
    step = max(1, 2 * len(cut) // _MOST_POINTS)
    if step > 1:
        n_pieces = len(cut) // step
        pieces = cut[: n_pieces * step].reshape(-1, step)
        panel.fill_between(
            begin + np.arange(n_pieces) * step / rate,
            pieces.min(axis=1),
            pieces.max(axis=1),
            color="#222222",
            linewidth=0.4,
            zorder=3,
        )
    else:
        panel.plot(
            begin + np.arange(len(cut)) / rate,
            cut,
            color="#222222",
            linewidth=0.7,
            zorder=3,
        )
    peak = float(np.abs(cut).max()) or 1.0
    panel.set_ylim(-1.05 * peak, 1.05 * peak)
    panel.set_xlim(begin, end)
    panel.set_ylabel("amplitude")
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def runs_between(
    states: Array,
    begin: float,
    end: float,
) -> list[tuple[float, float, int]]:
    """List the runs of equal states within a stretch.

    Args:
        states: States at 50 Hz, shape (k,).
        begin: Beginning of the stretch in seconds.
        end: End of the stretch in seconds.

    Returns:
        Beginning and end in seconds, limited to the stretch, and the state of each run.

    Example:
        >>> runs_between(np.array([0, 0, 1, 1]), 0.0, 0.06)
        [(0.0, 0.04, 0), (0.04, 0.06, 1)]
    """
    changes = (np.flatnonzero(np.diff(states)) + 1).tolist()
    runs: list[tuple[float, float, int]] = []
    for first, last in pairwise([0, *changes, len(states)]):
        run_begin = first / STATE_RATE
        run_end = last / STATE_RATE
        if last > first and run_end > begin and run_begin < end:
            state = int(states[first])
            runs.append((max(run_begin, begin), min(run_end, end), state))
    return runs


def _shade(
    panel: Axes,
    states: Array,
    begin: float,
    end: float,
    *,
    alpha: float,
) -> None:
    """Colour the panel by the states from ``begin`` to ``end`` seconds."""
    for run_begin, run_end, state in runs_between(states, begin, end):
        if state >= 0:
            panel.axvspan(
                run_begin,
                run_end,
                color=STATE_COLOURS[STATES[state]],
                alpha=alpha,
                linewidth=0,
            )


def _strip(
    panel: Axes,
    name: str,
    states: Array,
    begin: float,
    end: float,
) -> None:
    """Draw the states from ``begin`` to ``end`` seconds as a strip of colours."""
    panel.set_facecolor(_UNANNOTATED_COLOUR)
    _shade(panel, states, begin, end, alpha=1.0)
    panel.set_yticks([])
    panel.set_ylabel(name, rotation=0, ha="right", va="center")
    panel.set_xlim(begin, end)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _mel_axis(panel: Axes, rate: int, bands: int) -> None:
    """Label frequencies at the centres of their bands.

    The bands lie between ``bands`` + 2 edges that are equally spaced on the mel scale.
    """
    low = np.log1p(MEL_LOW / 700)
    high = np.log1p(min(MEL_HIGH, rate / 2) / 700)
    marks = [hz for hz in (50, 100, 200, 400, 800) if hz < rate / 2]
    heights = []
    for hz in marks:
        share = float((np.log1p(hz / 700) - low) / (high - low))
        heights.append(share * (bands + 1) - 0.5)
    panel.set_yticks(heights, [str(hz) for hz in marks])
    panel.set_ylabel("Hz")


def _legend(
    figure: Figure,
    panel: Axes,
    title: str,
    coloured: bool,
) -> None:
    """Add the title, and the colours of the states if the figure has any."""
    from matplotlib.patches import Patch

    panel.set_title(title, loc="left", fontsize=10)
    if coloured:
        handles: list[Any] = [Patch(color=STATE_COLOURS[name], label=name) for name in STATES]
        handles.append(
            Patch(facecolor=_UNANNOTATED_COLOUR, edgecolor="#cccccc", label="unannotated")
        )
        figure.legend(
            handles=handles,
            loc="outside upper right",
            ncols=5,
            frameon=False,
            fontsize=8,
        )


@cache
def _notebook_figure() -> type[Figure]:
    """Return the class of figures that a notebook displays."""
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that a notebook displays even if pyplot was not imported."""

        def _repr_png_(self) -> bytes:
            """Return the figure as PNG."""
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return NotebookFigure


def _figure(width: float, height: float) -> Figure:
    """Make an empty figure; sizes are in inches."""
    notebook_figure = _notebook_figure()
    return notebook_figure(figsize=(width, height), layout="constrained")


def _saved(figure: Figure, path: str | Path | None) -> Figure:
    """Save the figure if there is a path, and return it."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    return figure
