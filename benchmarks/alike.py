"""Thresholds of fingerprints, measured: ``python -m benchmarks.alike camus=DIR cinc2016=DIR``.

For each data set a row of ``benchmarks/alike.md``: how alike strangers are, how alike copies stay
after each change, how alike the frames of one person under two ids are, and the seconds of one core for
all recordings. Rows of data sets that are not named stay as they are. Copies by MP3 need the package ``av``.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from etab import datasets
from etab.datasets.base import SoundSource, Source
from etab.datasets.integrity.alike import Fingerprints, compared_frames
from etab.datasets.integrity.canonical import same_people
from etab.datasets.integrity.cuts import ALIKE_CUT, cut_copies, kept_samples
from etab.datasets.integrity.fingerprints import (
    ALIKE_FRAMES,
    ALIKE_SOUNDS,
    frame_print,
    mirrored,
    sound_print,
    unit_rows,
)
from etab.datasets.integrity.outlines import kept_picture, outline_copies
from etab.types import Array, FloatArray

TABLE = Path(__file__).with_suffix(".md")
MP3_RATE = 16_000  # samples a second
EVERY = 20  # one recording in so many is changed and compared with itself


def noisy(frame: Array) -> Array:
    """Grey levels changed by -2 to 2."""
    change = np.random.default_rng(0).integers(-2, 3, frame.shape)
    return np.asarray(np.clip(frame.astype(np.int64) + change, 0, 255), dtype=np.uint8)


def shifted(frame: Array) -> Array:
    """The frame moved by one pixel down and to the right."""
    return np.roll(frame, (1, 1), axis=(0, 1))


def resized(frame: Array) -> Array:
    """The frame at half its size."""
    import cv2

    height, width = frame.shape
    size = (width // 2, height // 2)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))


def jpeg(frame: Array, quality: int = 50) -> Array:
    """The frame after JPEG."""
    import cv2

    _, coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))


def coded_darker_and_cut(frame: Array) -> Array:
    """Three changes at once: two pixels cut on two sides, another curve, JPEG of quality 30."""
    return jpeg(gamma(frame[2:, 2:], 1.3), 30)


def blurred(frame: Array) -> Array:
    """Smoothed by a Gaussian of two pixels."""
    import cv2

    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 2.0))


def equalised(frame: Array) -> Array:
    """Every grey level about as frequent as every other one."""
    import cv2

    return np.asarray(cv2.equalizeHist(frame))


def speckled(frame: Array) -> Array:
    """White noise of 12 grey levels."""
    noise = 12 * np.random.default_rng(0).standard_normal(frame.shape)
    return np.asarray(np.clip(frame + noise, 0, 255), dtype=np.uint8)


def mirror(frame: Array) -> Array:
    """Left and right exchanged."""
    return np.ascontiguousarray(frame[:, ::-1])


def bordered(frame: Array) -> Array:
    """A black border of 5 % of the width."""
    return np.pad(frame, frame.shape[1] // 20)


def cropped(frame: Array) -> Array:
    """Six pixels cut from every side."""
    return np.ascontiguousarray(frame[6:-6, 6:-6])


def framed(frame: Array) -> Array:
    """A grey border of 5 % of the width, coded again."""
    return jpeg(np.pad(frame, frame.shape[1] // 20, constant_values=128))


def letterboxed(frame: Array) -> Array:
    """Black bars of a fifth of the width above and below."""
    bar = frame.shape[1] // 5
    return np.pad(frame, ((bar, bar), (0, 0)))


def cropped_more(frame: Array) -> Array:
    """Twenty pixels cut from every side."""
    return np.ascontiguousarray(frame[20:-20, 20:-20])


def without_foot(frame: Array) -> Array:
    """Twenty rows cut off below."""
    return np.ascontiguousarray(frame[:-20])


def cropped_and_framed(frame: Array) -> Array:
    """Six pixels cut from every side, and a black border."""
    return bordered(cropped(frame))


def burnt_in(frame: Array) -> Array:
    """A line of white text in the upper left corner."""
    import cv2

    written = frame.copy()
    cv2.putText(written, "ID 0001", (5, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    return written


def upside_down(frame: Array) -> Array:
    """Above and below exchanged."""
    return np.ascontiguousarray(frame[::-1])


def quarter_turn(frame: Array) -> Array:
    """Turned by a quarter of a circle."""
    return np.ascontiguousarray(np.rot90(frame))


def tilted(frame: Array, degrees: float = 5.0) -> Array:
    """Turned about its middle by five degrees."""
    import cv2

    height, width = frame.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(frame, turn, (width, height)))


def tilted_mirror(frame: Array) -> Array:
    """A mirror image turned by eight degrees, coded again."""
    return jpeg(tilted(mirror(frame), 8.0))


def framed_mirror(frame: Array) -> Array:
    """A mirror image without six pixels on every side, in a black border."""
    return cropped_and_framed(mirror(frame))


def gamma(frame: Array, power: float) -> Array:
    """Grey levels along another curve."""
    return np.asarray(255 * (frame / 255.0) ** power + 0.5, dtype=np.uint8)


def faint(frame: Array) -> Array:
    """A third of the contrast, and a brighter ground."""
    return np.asarray(60 + frame / 3.0, dtype=np.uint8)


def overexposed(frame: Array) -> Array:
    """Half as bright again, and cut off at white."""
    return np.asarray(np.minimum(frame * 1.5, 255), dtype=np.uint8)


FRAME_CHANGES: dict[str, Callable[[Array], Array]] = {
    "grey levels +-2": noisy,
    "one pixel": shifted,
    "half size": resized,
    "JPEG 50": jpeg,
    "mirror": mirror,
    "gamma 0.6": lambda frame: gamma(frame, 0.6),
    "gamma 1.6": lambda frame: gamma(frame, 1.6),
    "a third of the contrast": faint,
    "half as bright again": overexposed,
}
FRAME_OUTLINES: dict[str, Callable[[Array], Array]] = {
    "border of 5 %": bordered,
    "grey border of 5 % and JPEG 50": framed,
    "bars above and below": letterboxed,
    "cut by 6 pixels": cropped,
    "cut by 20 pixels": cropped_more,
    "20 rows cut off below": without_foot,
    "cut by 6 pixels and framed": cropped_and_framed,
    "mirror, cut by 6 pixels and framed": framed_mirror,
    "upside down": upside_down,
    "a quarter turn": quarter_turn,
    "5 degrees": tilted,
    "mirror, 8 degrees and JPEG 50": tilted_mirror,
}
"""Copies with another outline, which are found without borders, after crops and after turns (``outlines``)."""
FRAMES_MISSED: dict[str, Callable[[Array], Array]] = {"burnt-in text": burnt_in}
"""Changes that fingerprints of frames do not survive, or not always."""
FRAMES_TRIED: dict[str, Callable[[Array], Array]] = {
    "JPEG 30": lambda frame: jpeg(frame, 30),
    "cut by 2 pixels, gamma 1.3 and JPEG 30": coded_darker_and_cut,
    "blurred": blurred,
    "histogram equalised": equalised,
    "noise of 12 grey levels": speckled,
}
"""Changes that nothing was chosen for: whatever becomes of them is told."""

Sound = tuple[FloatArray, int]


def quiet(samples: FloatArray, rate: int) -> Sound:
    """A tenth of the amplitude, in 16 bits."""
    return np.round(samples * 3276.7) / 32767, rate


def resampled(samples: FloatArray, rate: int) -> Sound:
    """Half the sampling rate."""
    return resample_poly(samples, 1, 2), rate // 2


def coarse(samples: FloatArray, rate: int) -> Sound:
    """Eight bits of the recording's own range."""
    largest = max(float(np.abs(samples).max()), 1e-9)
    return np.round(samples / largest * 127) / 127, rate


def mu_law(samples: FloatArray, rate: int) -> Sound:
    """Eight bits of mu-law, as telephones code."""
    code = np.sign(samples) * np.log1p(255 * np.abs(samples)) / np.log(256)
    code = np.round(code * 127) / 127
    return np.sign(code) * np.expm1(np.abs(code) * np.log(256)) / 255, rate


def one_step_late(samples: FloatArray, rate: int) -> Sound:
    """Without the first 50 ms."""
    return samples[round(0.05 * rate) :], rate


def late(samples: FloatArray, rate: int) -> Sound:
    """Without the first half second."""
    return samples[rate // 2 :], rate


def half(samples: FloatArray, rate: int) -> Sound:
    """Without the first half of what is compared, at no whole step."""
    return samples[round(4.963 * rate) :], rate


def late_mu_law(samples: FloatArray, rate: int) -> Sound:
    """Without the first half second, coded again."""
    return mu_law(samples[rate // 2 :], rate)


def exchanged_poles(samples: FloatArray, rate: int) -> Sound:
    """Every sample turned round, as by a recorder with its poles exchanged."""
    return -samples, rate


def in_noise(samples: FloatArray, rate: int) -> Sound:
    """With white noise of a hundredth of its power."""
    noise = np.random.default_rng(0).standard_normal(len(samples))
    return samples + noise * float(np.std(samples)) / 10, rate


def double_rate(samples: FloatArray, rate: int) -> Sound:
    """Twice the sampling rate."""
    return resample_poly(samples, 2, 1), 2 * rate


def clipped(samples: FloatArray, rate: int) -> Sound:
    """Cut off at a third of the largest amplitude."""
    limit = float(np.abs(samples).max()) / 3
    return np.clip(samples, -limit, limit), rate


def high_passed(samples: FloatArray, rate: int) -> Sound:
    """Without what lies below 60 Hz, as after a filter against hum."""
    from scipy.signal import butter, sosfilt

    return np.asarray(sosfilt(butter(2, 60, "highpass", fs=rate, output="sos"), samples)), rate


def mp3(samples: FloatArray, rate: int) -> Sound:
    """Coded by MP3 at 32 kbit/s, from 16 kHz."""
    import av

    wave = resample_poly(samples, MP3_RATE, rate).astype(np.float32)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as coded:
        stream = coded.add_stream("libmp3lame", rate=MP3_RATE, layout="mono")
        stream.bit_rate = 32_000
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = MP3_RATE
        coded.mux(stream.encode(frame))
        coded.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as decoded:
        pieces = [frame.to_ndarray()[0] for frame in decoded.decode(audio=0)]
    return np.concatenate(pieces).astype(np.float64), MP3_RATE


def stretched(samples: FloatArray, rate: int) -> Sound:
    """Slower by 1 %, as from a recorder whose clock is off."""
    return resample_poly(samples, 101, 100), rate


def late_and_turned(samples: FloatArray, rate: int) -> Sound:
    """Without the first half second and the last second, every sample turned round."""
    return -samples[rate // 2 : -rate], rate


SOUND_CHANGES: dict[str, Callable[[FloatArray, int], Sound]] = {
    "gain 0.1": quiet,
    "half rate": resampled,
    "8 bits": coarse,
    "mu-law": mu_law,
    "poles exchanged": exchanged_poles,
    "noise at 20 dB": in_noise,
}
SOUNDS_TRIED: dict[str, Callable[[FloatArray, int], Sound]] = {
    "double rate": double_rate,
    "cut off at a third": clipped,
    "nothing below 60 Hz": high_passed,
    "MP3 of 32 kbit/s": mp3,
}
"""Changes that nothing was chosen for: whatever becomes of them is told."""
SOUNDS_MISSED: dict[str, Callable[[FloatArray, int], Sound]] = {"1 % slower": stretched}
"""Changes that fingerprints of sounds do not survive."""
SOUND_CUTS: dict[str, Callable[[FloatArray, int], Sound]] = {
    "50 ms cut": one_step_late,
    "0.5 s cut": late,
    "4.963 s cut": half,
    "0.5 s cut and mu-law": late_mu_law,
    "cut at both ends, poles exchanged": late_and_turned,
}
"""Copies without their start, which are found by their samples (``cuts``)."""


Found = dict[str, list[float]]
"""Correlations of recordings with their changed copies, by the name of the change."""


def measured(source: Source) -> tuple[str, ...]:
    """One row of the table."""
    started = time.process_time()
    prints = Fingerprints(isinstance(source, SoundSource))
    signals: list[tuple[Array, int]] = []
    for record in source.records():
        if isinstance(source, SoundSource):
            signal, rate = source.wave(record)
        else:
            signal, rate = source.frames(record, compared_frames(source, record)), 0
        prints.add(record, signal, rate)
        signals.append((signal, rate))
    pairs = prints.pairs()
    seconds = time.process_time() - started
    person_of = same_people(source)
    patient_of = {record.id: record.patient for record in source.records()}
    same: list[float] = []
    strangers: list[float] = []
    for ids, correlation in prints.correlations(0.4).items():
        people = {person_of.get(patient_of[name], patient_of[name]) for name in ids}
        (same if len(people) == 1 else strangers).append(correlation)
    changes = _sound_changes(signals) if prints.sound else _frame_changes(signals, prints)
    copies = ", ".join(_found(name, values, prints.threshold) for name, values in changes.items())
    if prints.sound:
        cuts = _sound_cuts(signals)
        copies += "; " + ", ".join(_found(name, c, ALIKE_CUT) for name, c in cuts.items())
    return (
        source.card.name,
        str(len(signals)),
        f"{seconds:.0f}",
        ", ".join(f"{value:.3f}" for value in sorted(strangers)[-3:]),
        f"{ALIKE_SOUNDS if prints.sound else ALIKE_FRAMES}",
        copies,
        ", ".join(f"{value:.3f}" for value in sorted(same)) or "-",
        str(len(pairs)),
    )


def _found(name: str, values: Sequence[float], threshold: float) -> str:
    share = np.mean(np.asarray(values) >= threshold)
    return f"{name} {share:.0%} (from {min(values):.2f})"


def _frame_changes(signals: Sequence[tuple[Array, int]], prints: Fingerprints) -> Found:
    """The correlations of frames with themselves after each change."""
    shared = np.stack(prints.prints).mean(axis=0)
    changes = {**FRAME_CHANGES, **FRAMES_TRIED, **FRAMES_MISSED}
    found: Found = {name: [] for name in (*changes, *FRAME_OUTLINES)}
    for frames, _ in signals[::EVERY]:
        for name, change in changes.items():
            both = np.stack([frame_print(frames[0]), frame_print(change(frames[0]))])
            first, second = unit_rows(both - shared)
            (reflected,) = unit_rows(mirrored(both[:1]) - shared)
            found[name].append(max(float(first @ second), float(reflected @ second)))
    for name, change in FRAME_OUTLINES.items():
        found[name] = _with_other_outline(prints.pictures, signals, change)
    return found


def _with_other_outline(
    pictures: Sequence[Array],
    signals: Sequence[tuple[Array, int]],
    change: Callable[[Array], Array],
) -> list[float]:
    """The correlations of first frames with their copies of another outline; 0 if missed."""
    changed = [kept_picture(change(frames[0])) for frames, _ in signals[::EVERY]]
    people = np.arange(len(pictures) + len(changed))
    best = dict.fromkeys(range(len(changed)), 0.0)
    for i, j, correlation in outline_copies([*pictures, *changed], people):
        first, second = sorted((i, j))
        copy = second - len(pictures)
        if copy >= 0 and first == copy * EVERY:
            best[copy] = max(best[copy], correlation)
    return list(best.values())


def _sound_changes(signals: Sequence[tuple[Array, int]]) -> Found:
    """The correlations of recordings with themselves after each change."""
    changes = {**SOUND_CHANGES, **SOUNDS_TRIED, **SOUNDS_MISSED}
    found: Found = {name: [] for name in changes}
    for samples, rate in signals[::EVERY]:
        whole = sound_print(samples, rate)
        for name, change in changes.items():
            found[name].append(float(whole @ sound_print(*change(samples, rate))))
    return found


def _sound_cuts(signals: Sequence[tuple[Array, int]]) -> Found:
    """The correlations of samples of recordings of ten seconds with their cut copies; 0 if missed."""
    found: Found = {name: [] for name in SOUND_CUTS}
    for samples, rate in signals[::EVERY]:
        if len(samples) < 10 * rate:
            continue
        for name, change in SOUND_CUTS.items():
            both = [(samples, rate), change(samples, rate)]
            prints = np.stack([sound_print(*sound) for sound in both])
            kept = [kept_samples(*sound) for sound in both]
            pairs = cut_copies(prints, np.arange(2), kept)
            found[name].append(max((c for _, _, c in pairs), default=0.0))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the data sets that are named, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="NAME=DIR")
    header = (
        "data set",
        "recordings",
        "seconds",
        "three closest pairs of strangers",
        "threshold",
        "changed copies found (smallest correlation)",
        "one person, two ids",
        "pairs found",
    )
    rows = _rows_of_table()
    for word in parser.parse_args(arguments).data:
        name, _, folder = word.partition("=")
        rows[name] = f"| {' | '.join(measured(datasets.source(name, Path(folder))))} |"
    lines = ["# Correlation of fingerprints", "", "Written by `python -m benchmarks.alike`.", ""]
    lines += [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    lines += [row for _, row in sorted(rows.items())]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rows_of_table() -> dict[str, str]:
    """The lines of the table as it is, by the name of the data set."""
    lines = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    rows = [line for line in lines if line.startswith("| ")][1:]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


if __name__ == "__main__":
    main()
