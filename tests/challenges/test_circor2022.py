"""Entries of the Challenge 2022: cross-validated by person and scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from etab.challenges.circor2022 import run_circor2022
from etab.challenges.limits import Limits
from etab.datasets.circor import CircorSource
from etab.errors import (
    EntryError,
    SplitError,
)
from tests.challenges.entries import (
    QUICK,
    RUN,
    TRAIN,
    entry_2022,
    zipped,
)


def test_cross_validation_is_by_person_and_hides_the_answers(made: Path, tmp_path: Path) -> None:
    train = (
        TRAIN + f"\nopen('{tmp_path}/log', 'a').write((model / 'seen.txt').read_text() + chr(10))"
    )
    path = zipped(entry_2022(tmp_path / "e", train), tmp_path / "e.zip")
    done = run_circor2022(
        path, made / "circor", tmp_path / "out", trust=True, n_fold=3, train=QUICK, answer=QUICK
    )
    assert (done.patients, done.people) == (12, 10)
    assert done.score.murmur.accuracy_classes[0] == 1.0
    assert "3-fold" in done.render()
    records = CircorSource(made / "circor").records()
    person = {r.meta["id"]: r.patient for r in records}
    trained = [set(line.split()) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(trained) == 3
    for ids in trained:
        tested = set(person) - ids
        assert not {person[i] for i in ids} & {person[i] for i in tested}
    assert sum(12 - len(ids) for ids in trained) == 12


def test_a_stopped_cross_validation_goes_on(made: Path, tmp_path: Path) -> None:
    path = entry_2022(tmp_path / "e", TRAIN + f"\nopen('{tmp_path}/log', 'a').write('x')")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    options = {"trust": True, "n_fold": 3, "train": QUICK, "answer": QUICK}
    with pytest.raises(KeyboardInterrupt):
        run_circor2022(path, made / "circor", tmp_path / "out", progress=stop, **options)
    assert 0 < len(list((tmp_path / "out" / "outputs").glob("*.csv"))) < 12
    run_circor2022(path, made / "circor", tmp_path / "out", **options)
    assert (tmp_path / "log").read_text() == "xxx"


def halves(made: Path, tmp_path: Path, first: list[int], second: list[int]) -> list[Path]:
    from tests.trees.sounds import small_circor

    return [
        small_circor(made / "circor", tmp_path / name, tuple(rows))
        for name, rows in (("a", first), ("b", second))
    ]


def test_hold_out_folders_and_people_on_both_sides(made: Path, tmp_path: Path) -> None:
    train, test = halves(made, tmp_path, [0, 1, 2, 4, 5], [3, 6, 7])
    path = entry_2022(tmp_path / "e")
    done = run_circor2022(
        path, train, tmp_path / "out", trust=True, hold_out=test, train=QUICK, answer=QUICK
    )
    assert done.patients == 3
    assert "trained on 5 patients" in done.protocol
    (tmp_path / "two").mkdir()
    train, test = halves(made, tmp_path / "two", [0, 1], [2, 3])
    with pytest.raises(SplitError, match=r"shares 1 patient with the training data"):
        run_circor2022(path, train, tmp_path / "out2", trust=True, hold_out=test)


def test_entries_of_2022_that_fail(made: Path, tmp_path: Path) -> None:
    options = {"trust": True, "n_fold": 2, "train": QUICK, "answer": QUICK}
    for k, (train, answer, said) in enumerate(
        (
            (
                "import sys; sys.exit('out of data')",
                RUN,
                r"train_model\.py ended with status 1: out of data",
            ),
            ("import time; time.sleep(30)", RUN, r"train_model\.py was stopped after 0\.5 s"),
            (TRAIN, "pass", r"run_model\.py left \d patients? without an output"),
            (
                TRAIN,
                RUN + "\n(outputs / '1.csv').write_text('x')",
                r"wrote 1 for patients it was not asked about \(1\)",
            ),
            (TRAIN, RUN.replace(",.2,", ",high,"), "score of Absent is 'high'"),
        )
    ):
        path = entry_2022(tmp_path / f"e{k}", train, answer)
        limits = {**options, "train": Limits(0.5, 512)} if "sleep" in train else options
        with pytest.raises(EntryError, match=said):
            run_circor2022(path, made / "circor", tmp_path / f"o{k}", **limits)
        assert not (tmp_path / f"o{k}" / "outputs").exists()
    (path / "run_model.py").unlink()
    with pytest.raises(EntryError, match=r"run_model\.py missing"):
        run_circor2022(path, made / "circor", tmp_path / "o", **options)


def test_nothing_is_kept_between_folds(made: Path, tmp_path: Path) -> None:
    """A fold finds neither files of another one nor the unpacked entry beside its own folder."""
    train = (
        TRAIN
        + """
beside = pathlib.Path('..').resolve()
assert not (beside / 'left').exists()
assert not (beside.parent / 'entry').exists()
(pathlib.Path('..') / 'left').touch()
"""
    )
    path = entry_2022(tmp_path / "e", train=train)
    done = run_circor2022(path, made / "circor", tmp_path / "out", trust=True, n_fold=2)
    assert done.patients == 12
