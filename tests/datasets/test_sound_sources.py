"""CirCor and CinC 2016 through their sources: the phantom trees and the real subsets."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from etab import phantom
from etab.datasets import Cinc2016Source, CircorSource, Dataset
from etab.datasets.cinc2016_layout import person
from etab.datasets.circor_layout import persons
from etab.datasets.integrity.check import check
from etab.errors import EtabWarning, UnsupportedOptionError
from etab.metrics.states import frame_accuracy, segmentation
from etab.splits import folds
from etab.testing.datasets import check_dataset
from tests.trees import sounds

PATIENTS, SEED = 12, 3


# --- contract ---


@pytest.mark.parametrize(
    "source", [pytest.param(CircorSource, marks=pytest.mark.slow), Cinc2016Source]
)
def test_contract(sound_trees: Path, source: type) -> None:
    check_dataset(source, sound_trees / source.card.name)


@pytest.mark.filterwarnings("ignore::etab.errors.EtabWarning")
@pytest.mark.parametrize("source", [CircorSource, Cinc2016Source])
def test_every_file_is_missed_by_name_or_not_needed(
    sound_trees: Path, tmp_path: Path, source: type
) -> None:
    cut_down = {"circor": sounds.small_circor, "cinc2016": sounds.small_cinc2016}[source.card.name]
    small = cut_down(sound_trees / source.card.name, tmp_path / "small")
    (tmp_path / "scratch").mkdir()
    from etab.testing.datasets import _check_deletions

    _check_deletions(source, small, tmp_path / "scratch")


@pytest.mark.slow
def test_same_seed_same_bytes_and_another_seed_others(sound_trees: Path, tmp_path: Path) -> None:
    phantom.write_sounds(tmp_path, patients=PATIENTS, seed=SEED + 1)
    other = CircorSource(tmp_path / "circor").digest()
    phantom.write_sounds(tmp_path, patients=PATIENTS, seed=SEED)
    for tree in ("circor", "cinc2016"):
        mine = {
            p.relative_to(sound_trees): p.read_bytes()
            for p in (sound_trees / tree).rglob("*")
            if p.is_file()
        }
        again = {
            p.relative_to(tmp_path): p.read_bytes()
            for p in (tmp_path / tree).rglob("*")
            if p.is_file()
        }
        assert mine == again
    assert CircorSource(tmp_path / "circor").digest() != other


@pytest.mark.parametrize("source", [CircorSource, Cinc2016Source])
def test_the_mark_is_in_every_recording(sound_trees: Path, tmp_path: Path, source: type) -> None:
    root = shutil.copytree(sound_trees / source.card.name, tmp_path / "t")
    (root / "PHANTOM").unlink()
    assert source(root).phantom
    for path in root.rglob("*.wav"):
        assert b"phantom" in path.read_bytes()[-20:]
        path.write_bytes(path.read_bytes().replace(b"phantom", b"made up"))
    assert not source(root).phantom


def test_phantom_refuses_a_folder_of_real_data(tmp_path: Path) -> None:
    (tmp_path / "circor").mkdir()
    (tmp_path / "circor" / "2530.txt").write_text("real")
    with pytest.raises(UnsupportedOptionError, match="not a phantom"):
        phantom.write_sounds(tmp_path)
    with pytest.raises(UnsupportedOptionError, match="at least 12"):
        phantom.write_sounds(tmp_path, patients=11)


@pytest.mark.parametrize("name", ["circor", "cinc2016"])
def test_check_reads_everything(sound_trees: Path, name: str) -> None:
    report = check(name, sound_trees / name)
    assert report.ok, report.render()
    assert report.phantom
    assert report.found["samples"] > 100_000


# --- CirCor ---


def test_circor_facts(sound_trees: Path) -> None:
    source = CircorSource(sound_trees / "circor")
    records = source.records()
    assert len({r.meta["id"] for r in records}) == PATIENTS
    assert len({r.patient for r in records}) == PATIENTS - 2
    assert {r.view for r in records} == {"AV", "PV", "TV", "MV", "Phc"}
    assert sum(r.id.endswith(("_1", "_2")) for r in records) == 2
    silent = [r for r in records if not source.answers(r, source.card.target("states"))]
    assert len(silent) == 1, "the file that is one line of no length annotates nothing"
    assert silent[0].id.endswith("_2")
    for record in records:
        (murmur,) = source.answers(record, source.card.target("murmur"))
        grade = source.answers(record, source.card.target("grade"))
        here = source.answers(record, source.card.target("murmur_here"))
        assert bool(grade) == (record.meta["murmur"] == "Present")
        assert bool(here) == (record.meta["murmur"] != "Unknown")
        assert murmur.value == ("Present", "Unknown", "Absent").index(record.meta["murmur"])
        if here:
            assert here[0].value == int(record.view in record.meta["murmur_locations"])


def test_one_person_is_never_in_two_folds(sound_trees: Path) -> None:
    records = CircorSource(sound_trees / "circor").records()
    by_id = {r.meta["id"]: r.patient for r in records}
    pairs = [(r.meta["id"], r.meta["additional_id"]) for r in records if "additional_id" in r.meta]
    assert len(set(pairs)) == 4
    for seed in range(20):
        fold = folds([r.patient for r in records], 5, seed)
        assert all(fold[by_id[a]] == fold[by_id[b]] for a, b in pairs)


def test_persons_join_chains_in_any_order() -> None:
    assert persons({"10": "nan", "9": "10", "7": "nan"}) == {"10": "9", "9": "9", "7": "7"}
    assert persons({"30": "20", "20": "nan", "40": "30"}) == {"30": "20", "20": "20", "40": "20"}
    assert set(persons({"40": "30", "30": "20", "20": "10"}).values()) == {"10"}
    assert persons({"50": "40", "60": "40"}) == {"50": "40", "60": "40"}, (
        "the id they share need not be here"
    )


def test_circor_is_found_from_the_folders_around_it(sound_trees: Path) -> None:
    for below in ("circor", "circor/training_data", "."):
        assert len(CircorSource(sound_trees / below).records()) == 42


# --- CinC 2016 ---


def test_cinc2016_facts(sound_trees: Path) -> None:
    source = Cinc2016Source(sound_trees / "cinc2016")
    records = source.records()
    assert Counter(r.meta["database"] for r in records) == {
        "a": 6,
        "b": 6,
        "c": 2,
        "d": 2,
        "e": 7,
        "f": 2,
    }
    patients = Counter(r.meta["database"] for r in {r.patient: r for r in records}.values())
    assert patients == dict.fromkeys("abcdef", 2)
    for letter in "abcdef":
        assert {r.meta["abnormal"] for r in records if r.meta["database"] == letter} == {
            True,
            False,
        }
    assert sum(r.meta["validation"] for r in records) in (11, 12), (
        "the withdrawn one may have been copied"
    )
    ecg = [source.ecg(r) for r in records]
    assert sum(e is not None for e in ecg) == 5
    assert all(
        len(e) == source.n_samples(r) and e.max() > 0.5
        for e, r in zip(ecg, records, strict=True)
        if e is not None
    )


def test_no_recording_is_listed_twice(sound_trees: Path) -> None:
    """The copies of validation/ in training would be the test set learnt by heart."""
    for source in (CircorSource(sound_trees / "circor"), Cinc2016Source(sound_trees / "cinc2016")):
        sums = [
            hashlib.sha256((source.root / r.files["audio"]).read_bytes()).hexdigest()
            for r in source.records()
        ]
        assert len(set(sums)) == len(sums)
    assert any(
        "copies of training recordings and are listed once" in note for note in source.notes()
    )


def test_withdrawn_recordings_are_left_out_and_said(sound_trees: Path, tmp_path: Path) -> None:
    root = shutil.copytree(sound_trees / "cinc2016", tmp_path / "c")
    source = Cinc2016Source(root)
    names = {r.id for r in source.records()}
    assert "e00008" not in names
    assert (root / "training-e" / "e00008.wav").is_file()
    assert "1 recording of training-e that the organisers withdrew is left out." in source.notes()
    (root / "training-e" / "Recordings need to be removed in training-e.txt").write_text(
        "e00001\ne00002\n"
    )
    assert {"e00001", "e00002"} & {r.id for r in Cinc2016Source(root).records()} == set()


def test_without_the_appendix_it_is_said_aloud(sound_trees: Path, tmp_path: Path) -> None:
    root = shutil.copytree(sound_trees / "cinc2016", tmp_path / "c")
    (root / "annotations" / "Online_Appendix_training_set.csv").unlink()
    source = Cinc2016Source(root)
    with pytest.warns(EtabWarning, match="Patients are unknown"):
        records = source.records()
    assert len({r.patient for r in records}) == len(records) == 26
    assert any("Folds share patients" in note for note in source.notes())


def test_cinc2016_patients_by_the_names_of_the_appendix() -> None:
    assert person("a0001", {"original record name": "C12S3"}) == person(
        "a0400", {"original record name": "C12S1"}
    )
    assert person("b0001", {"original record name": "S7f2", "subject id": "7"}) == "b-7"
    assert person("b0001", {"original record name": "S7f2"}) == "b-7"
    assert person("c0001", {"original record name": "id31_2"}) == "c-31"
    normal, ill = {"original record name": "e5"}, {"original record name": "5"}
    both = [person("e00001", row | {"# raw record": "5"}) for row in (normal, ill)]
    assert both[0] != both[1], "the cohorts of e both count from 1"
    assert person("d0001", {"original record name": "x"}) == "d0001"


def test_validation_alone_can_be_read(sound_trees: Path, tmp_path: Path) -> None:
    shutil.copytree(sound_trees / "cinc2016" / "validation", tmp_path / "validation")
    with pytest.warns(EtabWarning, match="Patients are unknown"):
        records = Cinc2016Source(tmp_path).records()
    assert all(r.meta["validation"] and r.files["audio"].startswith("validation/") for r in records)
    assert len(records) == 12


def test_labels_with_more_columns(sound_trees: Path, tmp_path: Path) -> None:
    root = shutil.copytree(sound_trees / "cinc2016", tmp_path / "c")
    table = root / "training-b" / "REFERENCE.csv"
    quality = root / "training-b" / "REFERENCE-SQI.csv"
    table.write_text("".join(f"{line},0,9\n" for line in quality.read_text().splitlines()))
    quality.unlink()
    (root / "annotations/updated/training-b/REFERENCE_withSQI.csv").unlink()
    assert [r.meta for r in Cinc2016Source(root).records()] == [
        r.meta for r in Cinc2016Source(sound_trees / "cinc2016").records()
    ]


# --- real ---


@pytest.mark.real
def test_real_circor(real_data: Path) -> None:
    source = CircorSource(real_data / "circor")
    check_dataset(CircorSource, real_data / "circor")
    records = source.records()
    assert (
        len(records),
        len({r.meta["id"] for r in records}),
        len({r.patient for r in records}),
    ) == (135, 46, 44)
    assert not source.phantom
    counts = {t.name: sum(bool(source.answers(r, t)) for r in records) for t in source.card.targets}
    assert counts["states"] == counts["HR"] == 134
    assert [r.id for r in records if not source.intervals(r)] == ["50782_MV_1"]
    assert Counter({r.meta["id"]: r.meta["murmur"] for r in records}.values()) == {
        "Present": 18,
        "Absent": 20,
        "Unknown": 8,
    }
    assert sum(r.view == "Phc" for r in records) == 1
    rates = [
        source.answers(r, source.card.target("HR"))[0].value for r in records if source.intervals(r)
    ]
    assert 60 < min(rates) < max(rates) < 170


@pytest.mark.real
def test_real_circor_shifts_are_scored_in_whole_frames(real_data: Path) -> None:
    """39456_MV moved by 3 frames is exactly 60 ms off: .375 where floats are compared, 1.0 here."""
    source = CircorSource(real_data / "circor")
    record = next(r for r in source.records() if r.id == "39456_MV")
    (answer,) = source.answers(record, source.card.target("states"))
    truth = answer.value
    assert segmentation(truth, truth).f1 == frame_accuracy(truth, truth) == 1
    for shift, wanted in ((1, 1.0), (2, 1.0), (3, 1.0), (4, 0.0)):
        score = segmentation(truth, np.roll(truth, shift))
        assert (score.se, score.ppv) == (wanted, wanted)
    assert segmentation(truth, np.roll(truth, 5), tolerance_ms=100).se == 1


@pytest.mark.real
def test_real_cinc2016(real_data: Path) -> None:
    source = Cinc2016Source(real_data / "cinc2016")
    with pytest.warns(EtabWarning, match="Patients are unknown"):
        records = source.records()
    assert len(records) == 347
    assert sum(r.meta["abnormal"] for r in records) == 178
    assert sum(not r.meta["good"] for r in records) == 61
    assert Counter(r.meta["database"] for r in records) == {
        "a": 55,
        "b": 80,
        "c": 16,
        "d": 51,
        "e": 104,
        "f": 41,
    }
    assert sum(r.meta["validation"] for r in records) == 69
    assert not source.phantom
    for record in records:
        samples, rate = source.wave(record)
        assert rate == 2000
        assert 4 * rate < len(samples) == source.n_samples(record) < 125 * rate
        assert source.answers(record, source.card.target("states")) == ()
    with pytest.warns(EtabWarning, match="Patients are unknown"):
        ds = Dataset(
            "cinc2016", "abnormal", root=real_data / "cinc2016", video=True, fps=1000, clip_l=5000
        )
    assert ds[0][0].shape == (5000,)
