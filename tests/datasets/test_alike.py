"""Copies under two names: found however they were stored, refused across the parts of a split."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from benchmarks.alike import (
    FRAME_CHANGES,
    FRAME_OUTLINES,
    FRAMES_MISSED,
    FRAMES_TRIED,
    SOUND_CHANGES,
    SOUND_CUTS,
)
from etab import datasets
from etab.datasets.camus import CamusSource
from etab.datasets.integrity import alike, cuts, outlines
from etab.datasets.integrity.alike import Alike, Fingerprints
from etab.datasets.integrity.check import check
from etab.datasets.integrity.cuts import ALIKE_CUT
from etab.datasets.integrity.fingerprints import (
    ALIKE_FRAMES,
    ALIKE_SOUNDS,
    frame_print,
    frame_prints,
    mirrored,
    sound_print,
    unit_rows,
)
from etab.datasets.integrity.outlines import kept_picture
from etab.errors import SplitError
from etab.runs import leaks
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.types import Record, RowSplit
from tests.datasets.test_canonical_splits import write

CANONICAL = True  # these data are compared with the canonical split
PARTS = {
    **{f"patient00{i}": "training" for i in range(10, 17)},
    "patient0200": "validation",
    "patient0027": "testing",
    "patient0051": "testing",
}


@functools.cache  # no test may change it
def frame(seed: int) -> np.ndarray:
    """A smooth picture in a sector that all pictures share."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (12, 12))
    picture = resample_poly(resample_poly(coarse, 19, 1, axis=0), 19, 1, axis=1)
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    sector = np.abs(x - picture.shape[1] / 2) < 0.6 * y + 5
    drawn = (np.clip(picture, 0, 255) * sector).astype(np.uint8)
    drawn.setflags(write=False)
    return drawn


@functools.cache
def sound(seed: int) -> np.ndarray:
    """Eight seconds of noise with beats."""
    rng = np.random.default_rng(seed)
    beats = 0.2 + (np.sin(np.arange(16000) / (90 + 5 * seed)) > 0.7)
    made = rng.normal(0, 0.1, 16000) * beats
    made.setflags(write=False)
    return np.asarray(made)


def prints_of(signals: list[np.ndarray], rate: int = 0) -> Fingerprints:
    prints = Fingerprints(bool(rate))
    for i, signal in enumerate(signals):
        prints.add(Record(f"r{i}", f"p{i}", "A4C"), signal if rate else signal[None], rate)
    return prints


@pytest.mark.parametrize("change", FRAME_CHANGES)
def test_a_changed_copy_of_a_frame_is_found(change: str) -> None:
    frames = [frame(i) for i in range(30)]
    pairs = prints_of([*frames, FRAME_CHANGES[change](frames[3])]).pairs()
    assert [(p.first, p.second, p.exact) for p in pairs] == [("r3", "r30", False)]
    assert pairs[0].correlation > ALIKE_FRAMES


@pytest.mark.parametrize("change", FRAME_OUTLINES)
def test_a_copy_with_another_outline_is_found(change: str) -> None:
    frames = [frame(i) for i in range(30)]
    pairs = prints_of([*frames, FRAME_OUTLINES[change](frames[3])]).pairs()
    assert [(p.first, p.second, p.exact) for p in pairs] == [("r3", "r30", False)]
    assert pairs[0].correlation > ALIKE_FRAMES


@pytest.mark.slow
def test_strangers_in_the_same_frame_are_no_copies() -> None:
    framed = [np.pad(frame(i), 20, constant_values=90) for i in range(20)]
    barred = [np.pad(frame(i), ((30, 30), (0, 0))) for i in range(20, 40)]
    assert prints_of([*framed, *barred]).pairs() == []


def test_a_picture_that_is_nearly_all_border_keeps_it() -> None:
    small = np.pad(frame(1)[:20, :20], 100)
    assert kept_picture(small).mean() < 30
    assert not kept_picture(np.full((9, 9), 200, np.uint8)).std()


@pytest.mark.parametrize("change", SOUND_CHANGES)
def test_a_changed_copy_of_a_sound_is_found(change: str) -> None:
    sounds = [sound(i) for i in range(20)]
    prints = prints_of(sounds, 2000)
    samples, rate = SOUND_CHANGES[change](sounds[3], 2000)
    prints.add(Record("copy", "other", "AV"), samples, rate)
    pairs = prints.pairs()
    assert [(p.first, p.second) for p in pairs] == [("r3", "copy")]
    assert pairs[0].correlation > ALIKE_SOUNDS


@functools.cache
def heart(seed: int, period: float = 0.8) -> np.ndarray:
    """Twelve seconds of beats that come every ``period`` seconds, each of other noise."""
    rng = np.random.default_rng(seed)
    since = np.arange(24000) / 2000 % period
    first = np.exp(-(((since - 0.1) / 0.03) ** 2))
    second = 0.6 * np.exp(-(((since - 0.4) / 0.02) ** 2))
    noise = resample_poly(rng.normal(size=2400), 10, 1)
    made = np.asarray(noise * (first + second + 0.02))
    made.setflags(write=False)
    return made


@pytest.mark.parametrize("change", SOUND_CUTS)
def test_a_copy_without_its_start_is_found(change: str) -> None:
    sounds = [heart(i, 0.7 + 0.02 * i) for i in range(6)]
    prints = prints_of(sounds, 2000)
    samples, rate = SOUND_CUTS[change](sounds[3], 2000)
    prints.add(Record("copy", "other", "AV"), samples, rate)
    (pair,) = prints.pairs()
    assert (pair.first, pair.second, pair.exact) == ("r3", "copy", False)
    assert pair.correlation > ALIKE_CUT


def test_a_copy_without_its_end_is_found() -> None:
    sounds = [heart(i, 0.7 + 0.02 * i) for i in range(6)]
    prints = prints_of([*sounds, sounds[3][:13000]], 2000)
    assert [{p.first, p.second} for p in prints.pairs()] == [{"r3", "r6"}]


def test_blocks_of_sounds_give_every_cut_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = [heart(i, 0.7 + 0.02 * i) for i in range(6)]
    prints = prints_of([*sounds, sounds[5][3210:], sounds[0][7777:]], 2000)
    at_once = prints.cuts()
    assert at_once.keys() == {("r5", "r6"), ("r0", "r7")}
    monkeypatch.setattr(cuts, "_BLOCK", 3)
    assert prints.cuts() == at_once


@pytest.mark.parametrize("cut", [0, 1, 2, 57, 100])
def test_coarse_fingerprints_of_sounds_are_means_over_steps_and_bands(cut: int) -> None:
    levels = np.random.default_rng(0).standard_normal((3, 200, 8)).astype(np.float32)
    shown = levels[:, cut:]
    even = shown[:, : shown.shape[1] // 2 * 2].reshape(3, -1, 2, 4, 2).mean(axis=(2, 4))
    coarse = cuts._coarse(cuts._coarse_sums(levels), cut, (200 - cut) // 2)
    assert np.allclose(coarse, unit_rows(even.reshape(3, -1)), atol=1e-6)


def test_pieces_of_one_recording_are_found_wherever_they_lie() -> None:
    """The pieces begin minutes apart and overlap by a second; the last two by 60 samples."""
    rng = np.random.default_rng(0)
    long = np.round(resample_poly(rng.normal(0, 3000, 40_000), 10, 1)) / 32768
    cuts = [(0, 120_000), (118_000, 200_000), (80_000, 150_000), (199_940, 300_000)]
    pieces = [long[start:stop].astype(np.float32) for start, stop in cuts]
    prints = prints_of([*(heart(i, 0.7 + 0.02 * i) for i in range(4)), *pieces], 2000)
    found = [(p.first, p.second, p.correlation, p.exact) for p in prints.pairs()]
    wanted = [("r4", "r5"), ("r4", "r6"), ("r5", "r6"), ("r5", "r7")]
    assert found == [(*pair, 1.0, False) for pair in wanted]


def test_pieces_of_one_patient_are_no_pair() -> None:
    prints = Fingerprints(True)
    for name in ("a", "b"):
        prints.add(Record(name, "p", "AV"), heart(1)[12000:], 2000)
    assert prints.pairs() == []


@pytest.mark.parametrize("levels", [1, 2, 12])
def test_quiet_stretches_that_are_equal_make_no_pieces(levels: int) -> None:
    """A stretch of few levels is of the device: the same ramp lies in all recordings."""
    ramp = np.tile(np.arange(levels), 3000)[:6000] / 32768
    sounds = [np.concatenate([heart(i, 0.7 + 0.02 * i)[: 14000 + 31 * i], ramp]) for i in range(4)]
    assert prints_of(sounds, 2000).stretches() == []


def test_hearts_that_beat_alike_are_no_copies() -> None:
    """Their fingerprints are alike at some shift; their samples are not."""
    prints = prints_of([heart(i)[100 * i :] for i in range(6)], 2000)
    assert prints.pairs() == []


def test_recordings_of_one_patient_are_no_pair() -> None:
    prints = Fingerprints(False)
    for name in ("a", "b"):
        prints.add(Record(name, "p", "A4C"), frame(1)[None])
    for i in range(2, 12):
        prints.add(Record(f"r{i}", f"p{i}", "A4C"), frame(i)[None])
    assert prints.pairs() == []


def test_marks_that_all_frames_share_make_no_copies() -> None:
    marks = np.kron(np.random.default_rng(0).integers(0, 2, (32, 32)), np.full((6, 6), 200))
    frames = []
    for i in range(30):
        faint = np.kron(np.random.default_rng(i + 1).integers(0, 30, (32, 32)), np.ones((6, 6)))
        frames.append((marks + faint).astype(np.uint8))
    assert prints_of(frames).pairs() == []


def test_a_very_quiet_copy_of_a_sound_is_found() -> None:
    prints = prints_of([sound(i) for i in range(10)], 2000)
    prints.add(Record("copy", "other", "AV"), sound(3) * 1e-4, 2000)
    assert [(p.first, p.second) for p in prints.pairs()] == [("r3", "copy")]


@pytest.mark.parametrize("level", [0, 7, 255])
def test_blank_recordings_are_no_copies(level: int) -> None:
    assert prints_of([np.full((40, 40), level, np.uint8)] * 2).pairs() == []
    assert prints_of([np.full(9000, level / 255)] * 2, 2000).pairs() == []


def beating(seed: int, frames: int = 48) -> np.ndarray:
    """A clip of a heart that contracts every 25 frames."""
    still = frame(seed)
    height, width = still.shape
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi)
    shown = []
    for t in range(frames):
        size = 1 + 0.12 * np.sin(2 * np.pi * t / 25 + phase)
        rows = (np.arange(height) - height / 2) * size + height / 2
        columns = (np.arange(width) - width / 2) * size + width / 2
        at = np.ix_(
            np.clip(rows, 0, height - 1).astype(int), np.clip(columns, 0, width - 1).astype(int)
        )
        shown.append(still[at])
    return np.stack(shown)


class Clip:
    """As much of a source as choosing frames asks for."""

    def __init__(self, frames: int, phases: tuple[int, int] | None = None) -> None:
        self._frames = frames
        self._phases = phases

    def n_frames(self, record: Record) -> int:
        return self._frames

    def phases(self, record: Record) -> tuple[int, int] | None:
        return self._phases


@pytest.mark.parametrize("phases", [None, (3, 16)], ids=["no phases", "phases"])
def test_a_clip_that_begins_and_ends_at_other_moments_is_found(
    phases: tuple[int, int] | None,
) -> None:
    clips = [beating(i) for i in range(12)]
    clips.append(clips[3][7:-6])
    prints = Fingerprints(False)
    for i, clip in enumerate(clips):
        record = Record(f"r{i}", f"p{i}", "A4C")
        chosen = alike.compared_frames(Clip(len(clip), phases), record)  # type: ignore[arg-type]
        prints.add(record, clip[chosen])
    assert [(p.first, p.second, p.exact) for p in prints.pairs()] == [("r3", "r12", False)]


@pytest.mark.parametrize(
    ("frames", "phases", "most", "wanted"),
    [
        (2, (0, 1), 8, [0, 1]),
        (8, None, 8, list(range(8))),
        (100, None, 3, [0, 50, 99]),
        (100, (10, 40), 3, [10, 40]),
        (100, (10, 40), 8, [0, 10, 20, 40, 59, 79, 99]),
    ],
)
def test_frames_to_compare(
    frames: int, phases: tuple[int, int] | None, most: int, wanted: list[int]
) -> None:
    record = Record("r", "p", "A4C")
    assert alike.compared_frames(Clip(frames, phases), record, most) == wanted  # type: ignore[arg-type]


def test_a_mirror_image_is_found_in_any_frame_of_a_clip() -> None:
    clips = [np.stack([frame(i), frame(100 + i)]) for i in range(12)]
    clips.append(np.stack([frame(50), frame(103)[:, ::-1]]))
    prints = Fingerprints(False)
    for i, clip in enumerate(clips):
        prints.add(Record(f"r{i}", f"p{i}", "A4C"), clip)
    assert [(p.first, p.second) for p in prints.pairs()] == [("r3", "r12")]


def test_clips_that_start_black_are_no_copies() -> None:
    """Films often start with a black frame; their other frames are compared all the same."""
    black = np.zeros_like(frame(0))
    clips = [np.stack([black, frame(i), frame(100 + i)]) for i in range(12)]
    clips.append(np.stack([black, frame(3), frame(200)]))
    prints = Fingerprints(False)
    for i, clip in enumerate(clips):
        prints.add(Record(f"r{i}", f"p{i}", "A4C"), clip)
    assert [(p.first, p.second) for p in prints.pairs()] == [("r3", "r12")]
    assert prints.outlines() == {("r3", "r12"): 1.0}


def test_each_of_many_equal_pictures_is_listed_with_every_copy() -> None:
    whole = frame(3)
    cropped = np.ascontiguousarray(whole[6:-6, 6:-6])
    pictures = [*[frame(i) for i in range(12)], whole, whole, cropped, cropped]
    patients = [*[f"p{i}" for i in range(12)], "p12", "p3", "p14", "p12"]
    prints = Fingerprints(False)
    for i, (picture, patient) in enumerate(zip(pictures, patients, strict=True)):
        prints.add(Record(f"r{i}", patient, "A4C"), picture[None])
    alike_rows = (3, 12, 13, 14, 15)
    wanted = {
        (f"r{i}", f"r{j}")
        for i, j in itertools.combinations(alike_rows, 2)
        if patients[i] != patients[j]
    }
    assert prints.outlines().keys() == wanted


def test_prints_of_nothing() -> None:
    assert not frame_print(np.full((20, 20), 3, np.uint8)).any()
    assert not sound_print(np.zeros(9000), 2000).any()
    assert not sound_print(np.ones(100), 2000).any()
    assert Fingerprints(True).pairs() == []


def test_blocks_of_the_table_give_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "_BLOCK", 7)
    frames = [frame(i) for i in range(30)]
    pairs = prints_of([*frames, frames[3], frames[29], frames[0]]).pairs()
    names = {(p.first, p.second) for p in pairs if p.exact}
    assert names == {("r3", "r30"), ("r29", "r31"), ("r0", "r32")}


def test_parts_and_blocks_of_pictures_give_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [frame(i) for i in range(20)]
    prints = prints_of([*frames, *(np.ascontiguousarray(frames[i][6:-6, 6:-6]) for i in (19, 0))])
    at_once = prints.outlines()
    assert at_once.keys() == {("r19", "r20"), ("r0", "r21")}
    monkeypatch.setattr(outlines, "_BLOCK", 7)
    monkeypatch.setattr(outlines, "_PART", 3)
    assert prints.outlines() == at_once


def noise(seed: int) -> np.ndarray:
    """White noise, whose fingerprints differ in about as many ways as they have numbers."""
    return np.random.default_rng(seed).integers(0, 256, (112, 112), dtype=np.uint8)


def faint(seed: int) -> np.ndarray:
    """A picture of a few grey levels."""
    return np.asarray(100 + frame(seed) / 40, dtype=np.uint8)


def repeated(seed: int) -> np.ndarray:
    """One of three pictures, with noise of its own."""
    own = np.random.default_rng(seed).integers(0, 20, frame(0).shape)
    return np.asarray(frame(seed % 3) * 0.9 + own, dtype=np.uint8)


def plainly_alike(pictures: Sequence[np.ndarray]) -> dict[tuple[int, int], float]:
    """Every look of every picture beside every other one, by whole fingerprints."""
    prints = frame_prints(pictures)
    shared = prints.mean(axis=0)
    sides = np.stack([unit_rows(side - shared) for side in (prints, mirrored(prints))])
    largest = np.full((len(pictures), len(pictures)), -1.0)
    for look in [*outlines._crops(), *outlines._turns()]:
        looks = unit_rows(frame_prints([look(picture) for picture in pictures]) - shared)
        largest = np.maximum(largest, (looks @ sides.transpose(0, 2, 1)).max(axis=0))
    np.fill_diagonal(largest, -1.0)
    found = np.argwhere(largest >= ALIKE_FRAMES).tolist()
    return {(i, j): float(largest[i, j]) for i, j in found}


@pytest.mark.parametrize("kind", [frame, noise, faint, repeated])
def test_bounds_of_correlations_miss_no_pair(kind: Callable[[int], np.ndarray]) -> None:
    """Most pairs are ruled out by a few numbers of their fingerprints; none that is alike."""
    frames = [kind(seed) for seed in range(30)]
    changes = {**FRAME_CHANGES, **FRAME_OUTLINES, **FRAMES_TRIED, **FRAMES_MISSED}
    copies = [change(frames[k]) for k, change in enumerate(changes.values())]
    pictures = [kept_picture(picture) for picture in [*frames, *copies]]
    pictures = list({picture.tobytes(): picture for picture in pictures}.values())
    found = {
        (i, j): correlation
        for i, j, correlation in outlines.outline_copies(pictures, np.arange(len(pictures)))
    }
    assert len(found) >= len(FRAME_OUTLINES)
    assert found == pytest.approx(plainly_alike(pictures), abs=1e-5)


def test_the_product_of_shortened_rows_is_a_bound() -> None:
    rows = np.random.default_rng(0).standard_normal((300, 1024)).astype(np.float32)
    rows = unit_rows(np.concatenate([rows, np.repeat(rows[:1], 2, axis=0), 0 * rows[:1]]))
    axes = outlines._main_axes(rows)
    assert np.allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-5)
    short = outlines._shortened(rows, axes)
    assert ((short @ short.T) >= rows @ rows.T - outlines._ROUNDING).all()
    assert not short[-1].any()


def test_prints_of_several_frames_are_those_of_each() -> None:
    frames = [frame(1), frame(2)[::2, 3:], np.full((20, 20), 3, np.uint8)]
    assert np.array_equal(frame_prints(frames), [frame_print(one) for one in frames])


def copied(root: Path, source: str, copy: str) -> Path:
    """A tree in which all pictures of one patient are those of another."""
    folder = write(root, PARTS) / "database_nifti"
    for path in (folder / source).glob("*.nii.gz"):
        (folder / copy / path.name.replace(source, copy)).write_bytes(path.read_bytes())
    return root


@pytest.mark.parametrize(
    ("protocol", "source", "copy"),
    [
        ("official", "patient0010", "patient0027"),
        ("official", "patient0200", "patient0027"),
        ("cv10", "patient0010", "patient0011"),
        ("cv5x2", "patient0010", "patient0011"),
    ],
)
def test_a_run_refuses_equal_recordings_across_parts(
    tmp_path: Path, protocol: str, source: str, copy: str
) -> None:
    root = copied(tmp_path / "data", source, copy)
    runs = plan("b0-A4-C", ["image_stats"], protocols=[protocol])
    with pytest.raises(SplitError, match="equal recordings of two patients"):
        list(execute(runs, Settings(root=root, results=tmp_path / "results")))
    assert check("camus", root).duplicates


def test_copies_in_one_part_run_and_are_noted(tmp_path: Path) -> None:
    root = copied(tmp_path / "data", "patient0010", "patient0011")
    runs = plan("b0-A4-C", ["image_stats"], protocols=["official"])
    (result,) = execute(runs, Settings(root=root, results=tmp_path / "results"))
    (note,) = [n for n in result.settings["notes"] if "are alike" in n]
    assert "patient0010_4CH and patient0011_4CH (1.00)" in note


def test_a_split_that_parts_a_copy_either_way() -> None:
    pair = Alike("a", "b", 1.0, True)
    rows = np.arange(2)
    for train, test in ((rows[:1], rows[1:]), (rows[1:], rows[:1])):
        with pytest.raises(SplitError, match="trains on the first and tests the second"):
            leaks.refuse_copies("t", ["a", "b"], [RowSplit(train, (), test, "fold0")], [pair])
    near = [Alike("a", "b", 0.99, False)]
    leaks.refuse_copies("t", ["a", "b"], [RowSplit(rows[:1], (), rows[1:], "fold0")], near)


def test_what_was_found_is_stored_by_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = datasets.source("camus", copied(tmp_path / "data", "patient0010", "patient0011"))
    first = alike.known_alike(source, "digest", tmp_path / "cache")
    assert first
    (path,) = (tmp_path / "cache" / "alike").iterdir()
    monkeypatch.setattr(alike, "alike_recordings", lambda source: ())
    assert alike.known_alike(source, "digest", tmp_path / "cache") == first
    assert alike.known_alike(source, "other", tmp_path / "cache") == ()
    path.write_text(json.dumps([{"unknown": 1}]))
    assert alike.known_alike(source, "digest", tmp_path / "cache") == ()
    assert alike.known_alike(source, "digest", None) == ()


def test_what_is_stored_is_of_one_list_of_people_and_read_without_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(tmp_path / "data", "patient0010", "patient0011")
    first = alike.known_alike(datasets.source("camus", folder), "digest", tmp_path / "cache")

    def refuse(source: CamusSource) -> bool:
        raise AssertionError("headers were read")

    monkeypatch.setattr(CamusSource, "phantom", property(refuse))
    again = datasets.source("camus", folder)
    assert alike.known_alike(again, "digest", tmp_path / "cache") == first != ()
    monkeypatch.setattr(alike, "split_digest", lambda name: "another list of people")
    with pytest.raises(AssertionError, match="headers were read"):
        alike.known_alike(again, "digest", tmp_path / "cache")


def test_data_check_lists_near_copies(tmp_path: Path) -> None:
    import nibabel as nib

    root = copied(tmp_path / "data", "patient0010", "patient0011")
    for path in (root / "database_nifti" / "patient0011").glob("*_E?.nii.gz"):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        values[3, 3] += 1
        nib.save(nib.Nifti1Image(values, image.affine), path)
    report = check("camus", root)
    assert report.duplicates == []
    assert any("patient0010_4CH and patient0011_4CH" in row for row in report.alike)
    assert "look at both" in report.render()
