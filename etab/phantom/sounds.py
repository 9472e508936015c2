"""Synthetic heart sounds: S1, S2, a third sound, a systolic murmur, breath and noise.

Times are in seconds, frequencies in Hz. A beat consists of S1, systole, S2 and diastole, whose
onsets are known exactly. The frequency response of the stethoscope differs from database to
database: a deliberate confound, as in the published data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from etab.phantom.anatomy import bell
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
    {
        "Low": (60.0, 140.0),
        "Medium": (120.0, 240.0),
        "High": (220.0, 420.0),
    }
)
MURMUR_QUALITIES = ("Blowing", "Harsh", "Musical")
_LOUDNESS = (0.10, 0.22, 0.45)
# (delay after S1 in s, height in mV, width in s) of the P, Q, R and S waves.
_QRS = (
    (-0.16, 0.12, 0.03),
    (-0.04, -0.1, 0.008),
    (-0.02, 1.0, 0.01),
    (0.0, -0.2, 0.01),
)


@dataclass(frozen=True, slots=True)
class Murmur:
    """A systolic murmur in the terms of CirCor.

    Attributes:
        grade: The index (0 to 2) into ``GRADES``.
        timing: A key of ``TIMINGS``.
        shape: One of ``SHAPES``.
        pitch: A key of ``PITCHES``.
        quality: One of ``MURMUR_QUALITIES``.
    """

    grade: int
    timing: str
    shape: str
    pitch: str
    quality: str


@dataclass(frozen=True, slots=True)
class Stethoscope:
    """The device of a database.

    Attributes:
        low: The lower edge of the band in Hz.
        high: The upper edge of the band in Hz.
        resonance: The frequency in Hz that the device amplifies most.
        gain: The amplification at the resonance.
        hum: The amplitude of 50 Hz hum.
        hiss: The standard deviation of white noise.
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
    """One synthetic person.

    Attributes:
        rate: Mean heart rate in beats per minute.
        variability: Relative variation of the beat length.
        first: (loudness, pitch in Hz) of S1.
        second: (loudness, pitch in Hz) of S2.
        split: Delay between the two parts of S2, in seconds.
        third: Loudness of the third heart sound; 0 for none.
        breaths: Breaths per second.
        breath: Loudness of the breath.
        murmur: The systolic murmur, or None.
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
    """Draw a systolic murmur; severe ones last longer, as in children with a heart defect.

    Args:
        rng: The source of randomness.
    """
    grade = int(rng.choice(3, p=[0.4, 0.3, 0.3]))
    shares = [0.55, 0.15, 0.05, 0.25]
    if grade > 0:
        shares = [0.3, 0.1, 0.05, 0.55]
    timing = rng.choice(list(TIMINGS), p=shares)
    pitch = rng.choice(list(PITCHES))
    quality = rng.choice(MURMUR_QUALITIES, p=[0.45, 0.45, 0.1])
    shape = rng.choice(SHAPES)
    return Murmur(
        grade,
        str(timing),
        str(shape),
        str(pitch),
        str(quality),
    )


def draw_chest(
    rng: np.random.Generator,
    *,
    murmur: bool,
    third: bool,
    rate: float,
) -> Chest:
    """Draw a person.

    Args:
        rng: The source of randomness.
        murmur: Whether the person has a systolic murmur.
        third: Whether the person has a third heart sound.
        rate: The heart rate in beats per minute around which the person's own rate is drawn.
    """
    own_rate = rate * np.exp(rng.normal(0, 0.12))
    variability = rng.uniform(0.01, 0.05)
    first_loudness = np.exp(rng.normal(0, 0.15))
    first_pitch = rng.uniform(38, 62)
    second_loudness = 0.75 * np.exp(rng.normal(0, 0.2))
    second_pitch = rng.uniform(55, 95)
    split = rng.uniform(0.005, 0.03)
    third_loudness = rng.uniform(0.15, 0.3) if third else 0.0
    breaths = rng.uniform(0.2, 0.45)
    breath = rng.uniform(0.004, 0.02)
    return Chest(
        rate=float(own_rate),
        variability=float(variability),
        first=(float(first_loudness), float(first_pitch)),
        second=(float(second_loudness), float(second_pitch)),
        split=float(split),
        third=float(third_loudness),
        breaths=float(breaths),
        breath=float(breath),
        murmur=draw_murmur(rng) if murmur else None,
    )


def beats(
    chest: Chest,
    seconds: float,
    rng: np.random.Generator,
) -> tuple[Interval, ...]:
    """Draw the states of all beats of a recording.

    Args:
        chest: The person.
        seconds: The length of the recording; the states start before 0 and end after it.
        rng: The source of randomness.

    Returns:
        (start in s, end in s, state) of each interval, without gaps.
    """
    out: list[Interval] = []
    onset = -float(rng.uniform(0.2, 1.0)) * 60 / chest.rate
    drift = 0.0
    while onset < seconds:
        change = float(rng.normal(0, chest.variability / 2))
        drift = 0.7 * drift + change
        breathing_phase = 2 * np.pi * chest.breaths * onset
        breathing = chest.variability * np.sin(breathing_phase)
        period = 60 / chest.rate * (1 + breathing + drift)
        period = float(np.clip(period, 0.32, 1.6))
        first_sound = min(0.12, 0.2 * period)
        second_sound = min(0.10, 0.17 * period)
        systole = max(0.05, 0.16 + 0.16 * period - first_sound)
        edges = np.cumsum([onset, first_sound, systole, second_sound])
        marks = [*edges.tolist(), onset + period]
        for k, state in enumerate((S1, SYSTOLE, S2, DIASTOLE)):
            out.append((marks[k], marks[k + 1], state))
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
    """Record a person with a stethoscope.

    Args:
        chest: The person.
        device: The stethoscope.
        rate: Samples per second.
        seconds: The length of the recording.
        loud: The loudness of the murmur at this place of the chest, from 0 to 1.
        noise: From 0 (a quiet room) to 1 (a recording of no use).
        rng: The source of randomness.

    Returns:
        (samples (n,) int16, the true states within the recording).
    """
    n = round(rate * seconds)
    t = np.arange(n) / rate
    states = beats(chest, seconds, rng)
    sound = np.zeros(n)
    for start, end, state in states:
        length = end - start
        if state == S1:
            _add_valve_sound(sound, t, rate, (start, length), chest.first, 0.0)
        elif state == S2:
            _add_valve_sound(sound, t, rate, (start, length), chest.second, chest.split)
        elif state == DIASTOLE and chest.third and length > 0.2:
            span = (start + 0.08, 0.06)
            tone = (chest.third, 32.0)
            _add_valve_sound(sound, t, rate, span, tone, 0.0)
    if chest.murmur is not None and loud > 0:
        sound += loud * _murmur_sound(chest.murmur, states, t, rate, rng)
    airflow: FloatArray = rng.standard_normal(n)
    airflow = band(airflow, rate, 120, min(600, 0.45 * rate))
    breathing = np.sin(2 * np.pi * chest.breaths * t)
    breathing = np.clip(breathing, 0, None)
    breath = chest.breath * (1 + 8 * noise)
    sound += breath * airflow * breathing
    sound += noise * 0.4 * _knocks(t, rate, rng)
    filtered = _through(sound, device, rate, rng, noise)
    peak = float(np.abs(filtered).max())
    scaled = filtered / max(peak, 1e-9) * rng.uniform(0.35, 0.9)
    recorded = []
    for start, end, state in states:
        if end > 0 and start < seconds:
            recorded.append((max(start, 0.0), min(end, seconds), state))
    return np.rint(scaled * 32767).astype("<i2"), tuple(recorded)


def band(
    sound: FloatArray,
    rate: int,
    low: float,
    high: float,
) -> FloatArray:
    """Filter a sound with a band-pass of soft flanks and zero phase.

    White noise keeps about its variance.

    Args:
        sound: Samples (n,).
        rate: Samples per second.
        low: The lower edge in Hz.
        high: The upper edge in Hz.

    Returns:
        Samples (n,).
    """
    f = np.fft.rfftfreq(len(sound), 1 / rate)
    above_low = 1 + (low / np.maximum(f, 1e-3)) ** 6
    below_high = 1 + (f / high) ** 6
    response = 1 / above_low / below_high
    power = float(np.sqrt(np.mean(response**2)))
    filtered = np.fft.irfft(np.fft.rfft(sound) * response, len(sound))
    return np.asarray(filtered / max(power, 1e-9))


def _add_valve_sound(
    sound: FloatArray,
    t: FloatArray,
    rate: int,
    span: tuple[float, float],
    tone: tuple[float, float],
    split: float,
) -> None:
    """Add two tones, each with the amplitude of a bell, to ``sound`` in place.

    Args:
        sound: Samples (n,).
        t: The time of each sample, in s.
        rate: Samples per second.
        span: (start, length) in s.
        tone: (loudness, pitch in Hz).
        split: The delay of the second tone, in s.
    """
    start, length = span
    first = max(0, int(start * rate))
    end = min(len(sound), int((start + length) * rate) + 1)
    if end <= first:
        return
    elapsed = t[first:end] - start
    loud, pitch = tone
    for delay, gain, ratio in ((0.0, 1.0, 1.0), (split + 0.012, 0.6, 1.6)):
        from_onset = elapsed - delay
        from_peak = from_onset - 0.35 * length
        amplitude = bell(from_peak, 0.22 * length)
        frequency = 2 * np.pi * pitch * ratio
        wave = np.sin(frequency * from_onset)
        sound[first:end] += loud * gain * amplitude * wave


def _murmur_sound(
    murmur: Murmur,
    states: tuple[Interval, ...],
    t: FloatArray,
    rate: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Compute the samples (n,) of a murmur at the place where it is loudest."""
    low, high = PITCHES[murmur.pitch]
    tone = band(rng.standard_normal(len(t)), rate, low, high)
    if murmur.quality == "Harsh":
        rough: FloatArray = rng.standard_normal(len(t))
        rough = band(rough, rate, 0.8 * low, 1.5 * high)
        modulation = 0.5 * np.sin(2 * np.pi * 28 * t)
        tone = rough * (1 + modulation)
    elif murmur.quality == "Musical":
        fundamental = np.sin(np.pi * (low + high) * t)
        overtone = np.sin(2 * np.pi * (low + high) * t)
        tone = 1.2 * (fundamental + 0.4 * overtone)
    begin, end = TIMINGS[murmur.timing]
    gain = np.zeros(len(t))
    for start, stop, state in states:
        if state != SYSTOLE:
            continue
        systole = stop - start
        first = start - 0.02 + begin * systole
        last = start + end * systole + 0.02
        share = (t - first) / (last - first)
        inside = (share >= 0) & (share <= 1)
        gain[inside] = _envelope(murmur.shape, share[inside])
    return _LOUDNESS[murmur.grade] * gain * tone


def _envelope(shape: str, u: FloatArray) -> FloatArray:
    """Compute the loudness of a murmur of one shape at shares ``u`` (0 to 1) of its duration."""
    edge = np.clip(np.minimum(u, 1 - u) / 0.1, 0, 1)
    form = {
        "Crescendo": 0.2 + 0.8 * u,
        "Decrescendo": 1 - 0.8 * u,
        "Diamond": 1 - 0.8 * np.abs(2 * u - 1),
    }
    return np.asarray(edge * form.get(shape, np.ones_like(u)))


def _knocks(
    t: FloatArray,
    rate: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Compute the samples of rubbing and knocks of the chest piece."""
    out: FloatArray = np.zeros(len(t))
    seconds = t[-1]
    n_knocks = int(rng.poisson(1.2 * seconds))
    for moment in rng.uniform(0, seconds, n_knocks):
        width = rng.uniform(0.02, 0.25)
        loudness = rng.uniform(0.3, 1.5)
        out += loudness * bell(t - moment, width)
    return out * band(rng.standard_normal(len(t)), rate, 30, 350)


def _through(
    sound: FloatArray,
    device: Stethoscope,
    rate: int,
    rng: np.random.Generator,
    noise: float,
) -> FloatArray:
    """Filter a sound as the device does, and add the hum and hiss of the device."""
    n = len(sound)
    f = np.maximum(np.fft.rfftfreq(n, 1 / rate), 1e-3)
    high = min(device.high, 0.45 * rate)
    above_low = 1 + (device.low / f) ** 6
    below_high = 1 + (f / high) ** 6
    gain: FloatArray = 1 / above_low / below_high
    resonance = bell(f - device.resonance, 0.4 * device.resonance)
    gain *= 1 + (device.gain - 1) * resonance
    filtered = np.fft.irfft(np.fft.rfft(sound) * gain, n)
    phase = 2 * np.pi * 50 * np.arange(n) / rate
    hum = device.hum * np.sin(phase + rng.uniform(0, 2 * np.pi))
    hiss = device.hiss * (1 + 5 * noise) * rng.standard_normal(n)
    return np.asarray(filtered + hum + hiss)


def ecg(
    states: tuple[Interval, ...],
    n: int,
    rate: int,
    rng: np.random.Generator,
) -> Array:
    """Draw an ECG with R waves 20 ms before S1 and T waves before S2.

    Args:
        states: The states of the recording.
        n: The number of samples.
        rate: Samples per second.
        rng: The source of the noise.

    Returns:
        (n,) int16, 1000 units per mV.
    """
    t = np.arange(n) / rate
    out: FloatArray = 0.01 * rng.standard_normal(n)
    for start, _, state in states:
        if state == S1:
            for delay, height, width in _QRS:
                out += height * bell(t - start - delay, width)
        elif state == S2:
            out += 0.25 * bell(t - start + 0.03, 0.045)
    return np.rint(out * 1000).astype("<i2")
