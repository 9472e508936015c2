"""A made heart, heard: S1, S2, a third sound, a systolic murmur, breath and noise, through a
stethoscope.

Times are in seconds, frequencies in Hz. A beat is S1, systole, S2, diastole; where each begins is
known exactly. The stethoscope colours everything and differs from database to database: a
deliberate confound, as in the real sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from etab.sounds.states import DIASTOLE, S1, S2, SYSTOLE, Interval
from etab.types import Array, FloatArray

GRADES = ("I/VI", "II/VI", "III/VI")
TIMINGS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "Early-systolic": (0.0, 0.5),
        "Mid-systolic": (0.25, 0.75),
        "Late-systolic": (0.5, 1.0),
        "Holosystolic": (0.0, 1.0),
    }
)
SHAPES = ("Crescendo", "Decrescendo", "Diamond", "Plateau")
PITCHES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"Low": (60.0, 140.0), "Medium": (120.0, 240.0), "High": (220.0, 420.0)}
)
MURMUR_QUALITIES = ("Blowing", "Harsh", "Musical")
_LOUDNESS = (0.10, 0.22, 0.45)


@dataclass(frozen=True, slots=True)
class Murmur:
    """A systolic murmur: ``grade`` 0 to 2 of GRADES, timing, shape, pitch and quality in the words
    of CirCor.
    """

    grade: int
    timing: str
    shape: str
    pitch: str
    quality: str


@dataclass(frozen=True, slots=True)
class Stethoscope:
    """What a database's device does to every sound: a band, a resonance (Hz, gain), hum at 50 Hz
    and hiss.
    """

    low: float
    high: float
    resonance: float
    gain: float
    hum: float
    hiss: float


STETHOSCOPES: Mapping[str, Stethoscope] = MappingProxyType(
    {
        "a": Stethoscope(25, 500, 110, 2.0, 0.000, 0.012),
        "b": Stethoscope(20, 260, 60, 3.0, 0.008, 0.0015),
        "c": Stethoscope(35, 800, 190, 3.0, 0.000, 0.030),
        "d": Stethoscope(15, 160, 45, 2.5, 0.015, 0.004),
        "e": Stethoscope(45, 900, 340, 2.5, 0.000, 0.0005),
        "f": Stethoscope(30, 340, 80, 5.0, 0.003, 0.060),
        "circor": Stethoscope(25, 800, 90, 1.5, 0.000, 0.006),
    }
)


@dataclass(frozen=True, slots=True)
class Chest:
    """One made person: rate in beats per minute and its variability, the sounds' loudness and
    pitch, breath, murmur.
    """

    rate: float
    variability: float
    first: tuple[float, float]
    second: tuple[float, float]
    split: float
    third: float
    breaths: float
    breath: float
    murmur: Murmur | None


def draw_murmur(rng: np.random.Generator) -> Murmur:
    """Draw a systolic murmur; graver ones are longer, as in children with a defect."""
    grade = int(rng.choice(3, p=[0.4, 0.3, 0.3]))
    timing = str(
        rng.choice(list(TIMINGS), p=[0.3, 0.1, 0.05, 0.55] if grade else [0.55, 0.15, 0.05, 0.25])
    )
    pitch = rng.choice(list(PITCHES))
    quality = rng.choice(MURMUR_QUALITIES, p=[0.45, 0.45, 0.1])
    return Murmur(grade, timing, str(rng.choice(SHAPES)), str(pitch), str(quality))


def draw_chest(rng: np.random.Generator, *, murmur: bool, third: bool, rate: float) -> Chest:
    """Draw a person whose mean heart rate is about ``rate``."""
    return Chest(
        rate=float(rate * np.exp(rng.normal(0, 0.12))),
        variability=float(rng.uniform(0.01, 0.05)),
        first=(float(np.exp(rng.normal(0, 0.15))), float(rng.uniform(38, 62))),
        second=(float(0.75 * np.exp(rng.normal(0, 0.2))), float(rng.uniform(55, 95))),
        split=float(rng.uniform(0.005, 0.03)),
        third=float(rng.uniform(0.15, 0.3)) if third else 0.0,
        breaths=float(rng.uniform(0.2, 0.45)),
        breath=float(rng.uniform(0.004, 0.02)),
        murmur=draw_murmur(rng) if murmur else None,
    )


def beats(chest: Chest, seconds: float, rng: np.random.Generator) -> tuple[Interval, ...]:
    """Every state from before 0 to after ``seconds``: (start s, end s, state), without gaps."""
    out: list[Interval] = []
    onset = -float(rng.uniform(0.2, 1.0)) * 60 / chest.rate
    drift = 0.0
    while onset < seconds:
        drift = 0.7 * drift + float(rng.normal(0, chest.variability / 2))
        period = (
            60
            / chest.rate
            * (1 + chest.variability * np.sin(2 * np.pi * chest.breaths * onset) + drift)
        )
        period = float(np.clip(period, 0.32, 1.6))
        first_sound = min(0.12, 0.2 * period)
        second_sound = min(0.10, 0.17 * period)
        systole = max(0.05, 0.16 + 0.16 * period - first_sound)
        edges = np.cumsum([onset, first_sound, systole, second_sound])
        marks = [*edges.tolist(), onset + period]
        out += [
            (marks[k], marks[k + 1], state) for k, state in enumerate((S1, SYSTOLE, S2, DIASTOLE))
        ]
        onset += period
    return tuple(out)


def auscultate(
    chest: Chest,
    device: Stethoscope,
    *,
    rate: int,
    seconds: float,
    loud: float,
    noise: float,
    rng: np.random.Generator,
) -> tuple[Array, tuple[Interval, ...]]:
    """One recording: int16 samples (n,) and its true states, cut to the recording.

    loud: how well the murmur is heard at this place, 0 to 1. noise: 0 for a quiet room, 1 for a
        spoiled recording.
    """
    n = round(rate * seconds)
    t = np.arange(n) / rate
    states = beats(chest, seconds, rng)
    sound = np.zeros(n)
    for start, end, state in states:
        if state in (S1, S2):
            _thump(
                sound,
                t,
                rate,
                start,
                end - start,
                chest.first if state == S1 else chest.second,
                chest.split if state == S2 else 0.0,
            )
        if state == DIASTOLE and chest.third and end - start > 0.2:
            _thump(sound, t, rate, start + 0.08, 0.06, (chest.third, 32.0), 0.0)
    if chest.murmur is not None and loud > 0:
        sound += loud * _murmur(chest.murmur, states, t, rate, rng)
    airy = band(rng.standard_normal(n), rate, 120, min(600, 0.45 * rate))
    sound += (
        chest.breath
        * (1 + 8 * noise)
        * airy
        * np.clip(np.sin(2 * np.pi * chest.breaths * t), 0, None)
    )
    sound += noise * 0.4 * _knocks(t, rate, rng)
    filtered = _through(sound, device, rate, rng, noise)
    peak = float(np.abs(filtered).max())
    scaled = filtered / max(peak, 1e-9) * rng.uniform(0.35, 0.9)
    in_recording = tuple(
        (max(a, 0.0), min(b, seconds), s) for a, b, s in states if b > 0 and a < seconds
    )
    return np.rint(scaled * 32767).astype("<i2"), in_recording


def band(sound: FloatArray, rate: int, low: float, high: float) -> FloatArray:
    """Keep ``low`` to ``high`` Hz with soft flanks, zero phase; unit variance in, about unit
    variance out.
    """
    f = np.fft.rfftfreq(len(sound), 1 / rate)
    keep = 1 / (1 + (low / np.maximum(f, 1e-3)) ** 6) / (1 + (f / high) ** 6)
    power = float(np.sqrt(np.mean(keep**2)))
    return np.asarray(np.fft.irfft(np.fft.rfft(sound) * keep, len(sound)) / max(power, 1e-9))


def _thump(
    sound: FloatArray,
    t: FloatArray,
    rate: int,
    start: float,
    length: float,
    tone: tuple[float, float],
    split: float,
) -> None:
    """Add a valve's sound: two damped tones under a bell inside [start, start + length]."""
    a = max(0, int(start * rate))
    b = min(len(sound), int((start + length) * rate) + 1)
    if b <= a:
        return
    x = t[a:b] - start
    loud, pitch = tone
    for delay, gain, ratio in ((0.0, 1.0, 1.0), (split + 0.012, 0.6, 1.6)):
        bell = np.exp(-(((x - delay - 0.35 * length) / (0.22 * length)) ** 2))
        sound[a:b] += loud * gain * bell * np.sin(2 * np.pi * pitch * ratio * (x - delay))


def _murmur(
    murmur: Murmur, states: tuple[Interval, ...], t: FloatArray, rate: int, rng: np.random.Generator
) -> FloatArray:
    """The murmur at the place where it is loudest."""
    low, high = PITCHES[murmur.pitch]
    tone = band(rng.standard_normal(len(t)), rate, low, high)
    if murmur.quality == "Harsh":
        tone = band(rng.standard_normal(len(t)), rate, 0.8 * low, 1.5 * high) * (
            1 + 0.5 * np.sin(2 * np.pi * 28 * t)
        )
    elif murmur.quality == "Musical":
        tone = 1.2 * (np.sin(np.pi * (low + high) * t) + 0.4 * np.sin(2 * np.pi * (low + high) * t))
    begin, end = TIMINGS[murmur.timing]
    gain = np.zeros(len(t))
    for start, stop, state in states:
        if state == SYSTOLE:
            a = start - 0.02 + begin * (stop - start)
            b = start + end * (stop - start) + 0.02
            u = (t - a) / (b - a)
            inside = (u >= 0) & (u <= 1)
            gain[inside] = _envelope(murmur.shape, u[inside])
    return _LOUDNESS[murmur.grade] * gain * tone


def _envelope(shape: str, u: FloatArray) -> FloatArray:
    edge = np.clip(np.minimum(u, 1 - u) / 0.1, 0, 1)
    form = {
        "Crescendo": 0.2 + 0.8 * u,
        "Decrescendo": 1 - 0.8 * u,
        "Diamond": 1 - 0.8 * np.abs(2 * u - 1),
    }
    return np.asarray(edge * form.get(shape, np.ones_like(u)))


def _knocks(t: FloatArray, rate: int, rng: np.random.Generator) -> FloatArray:
    """Rubbing and knocks of the chest piece."""
    out = np.zeros(len(t))
    for moment in rng.uniform(0, t[-1], int(rng.poisson(1.2 * t[-1]))):
        width = rng.uniform(0.02, 0.25)
        out += rng.uniform(0.3, 1.5) * np.exp(-(((t - moment) / width) ** 2))
    return out * band(rng.standard_normal(len(t)), rate, 30, 350)


def _through(
    sound: FloatArray, device: Stethoscope, rate: int, rng: np.random.Generator, noise: float
) -> FloatArray:
    """Colour a sound as the device does, and add its hum and hiss."""
    n = len(sound)
    f = np.maximum(np.fft.rfftfreq(n, 1 / rate), 1e-3)
    gain = 1 / (1 + (device.low / f) ** 6) / (1 + (f / min(device.high, 0.45 * rate)) ** 6)
    gain *= 1 + (device.gain - 1) * np.exp(
        -(((f - device.resonance) / (0.4 * device.resonance)) ** 2)
    )
    filtered = np.fft.irfft(np.fft.rfft(sound) * gain, n)
    hum = device.hum * np.sin(2 * np.pi * 50 * np.arange(n) / rate + rng.uniform(0, 2 * np.pi))
    return np.asarray(filtered + hum + device.hiss * (1 + 5 * noise) * rng.standard_normal(n))


def ecg(states: tuple[Interval, ...], n: int, rate: int, rng: np.random.Generator) -> Array:
    """An ECG (n,) int16, 1000 units a mV: R waves 20 ms before S1, T waves before S2."""
    t = np.arange(n) / rate
    out = 0.01 * rng.standard_normal(n)
    for start, _, state in states:
        if state == S1:
            for delay, height, width in (
                (-0.16, 0.12, 0.03),
                (-0.04, -0.1, 0.008),
                (-0.02, 1.0, 0.01),
                (0.0, -0.2, 0.01),
            ):
                out += height * np.exp(-(((t - start - delay) / width) ** 2))
        elif state == S2:
            out += 0.25 * np.exp(-(((t - start + 0.03) / 0.045) ** 2))
    return np.rint(out * 1000).astype("<i2")
