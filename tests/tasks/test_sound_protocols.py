"""Who is trained on and who is tested in heart sounds: people, databases, copies, and thresholds."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import confound
from etab import heads
from etab.datasets import Cinc2016Source, CircorSource
from etab.errors import EtabWarning, IncompatibleError, SplitError
from etab.features.base import input_of
from etab.metrics.base import METRICS
from etab.runs import execute, run
from etab.splits import inner_fits, row_splits
from etab.tasks import thresholds as decisions
from etab.tasks.menu import TASKS
from etab.tasks.protocol_rows import splits_of
from etab.tasks.protocols import chosen, protocol_name
from etab.tasks.rows import Rows
from etab.types import Array, Features, Kind, RowSplit


@pytest.fixture(scope="module")
def made(phantom_tree: Callable[..., Path]) -> Path:
    folder = phantom_tree(["circor"], patients=14, seed=2)
    shutil.move(phantom_tree(["cinc2016"], patients=30, seed=2) / "cinc2016", folder)
    return folder


def rows_of(code: str, root: Path) -> Rows:
    source = (CircorSource if code.endswith("D") else Cinc2016Source)(root)
    form = input_of(TASKS[code])
    return form.rows(TASKS[code], source, form.keys(TASKS[code], source))


# --- people, databases, copies ---


@pytest.mark.parametrize(
    ("code", "protocol"), [("f1-AL-D", "cv5"), ("f0-PH-N", "cv5"), ("f0-PH-N", "lodo")]
)
def test_no_person_is_in_training_and_test(made: Path, code: str, protocol: str) -> None:
    rows = rows_of(code, made / TASKS[code].dataset)
    splits = splits_of(protocol, 0, rows, Kind.BINARY)
    assert sorted(np.concatenate([s.test for s in splits]).tolist()) == list(range(len(rows.items)))
    for split in splits:
        assert not set(rows.patients[split.train]) & set(rows.patients[split.test])
        for part in split.inner:
            assert set(part.tolist()) <= set(split.train.tolist())
            assert not set(rows.patients[part]) & set(
                rows.patients[np.setdiff1d(split.train, part)]
            )


def test_two_ids_of_one_person_share_a_fold(made: Path) -> None:
    rows = rows_of("f1-AL-D", made / "circor")
    ids = {unit: rows.patients[i] for i, unit in enumerate(rows.units)}
    joined = [[u for u in ids if ids[u] == p] for p in set(ids.values())]
    assert max(map(len, joined)) == 2
    for split in splits_of("cv5", 0, rows, Kind.BINARY):
        tested = {rows.units[i] for i in split.test}
        assert all(not tested & set(pair) or set(pair) <= tested for pair in joined)


def test_no_sound_is_in_training_and_test(made: Path) -> None:
    root = made / "cinc2016"
    source, rows = Cinc2016Source(root), rows_of("f0-PH-N", root)
    files = {
        r.id: hashlib.sha256((root / r.files["audio"]).read_bytes()).hexdigest()
        for r in source.records()
    }
    assert len(list((root / "validation").glob("*.wav"))) > 5
    assert len(rows.items) == len(source.records()) == len(set(files.values()))
    for split in splits_of("cv5", 0, rows, Kind.BINARY):
        assert not {files[rows.records[i]] for i in split.train} & {
            files[rows.records[i]] for i in split.test
        }


def test_lodo_leaves_one_database_out(made: Path) -> None:
    rows = rows_of("f0-PH-N", made / "cinc2016")
    splits = splits_of("lodo", 0, rows, Kind.BINARY)
    group = np.array(rows.groups)
    assert [s.name for s in splits] == list("abcdef")
    for split in splits:
        assert set(group[split.test]) == {split.name}
        assert split.name not in set(group[split.train])
        assert [set(group[part]) for part in split.inner] == [
            {x} for x in "abcdef" if x != split.name
        ]


def test_lodo_needs_databases_that_share_nobody() -> None:
    people, parts = np.array(list("pqrs")), np.array([""] * 4)
    with pytest.raises(SplitError, match="at least three, got a, b"):
        row_splits(people, parts, protocol="lodo", groups=np.array(list("aabb")))
    with pytest.raises(SplitError, match="Patient p lies in two parts"):
        row_splits(np.array(list("pqrp")), parts, protocol="lodo", groups=np.array(list("abcb")))


def test_a_task_has_its_own_protocols() -> None:
    assert chosen(TASKS["f0-PH-N"], None, 5) == ["lodo", "cv5x5"]
    assert chosen(TASKS["f1-AL-D"], None, 5) == ["cv5x5"]
    assert chosen(TASKS["a0-A4-C"], None, 5) == ["official", "cv5x5"]
    assert chosen(TASKS["f1-AL-D"], ["official", "cv"], 10) == ["cv10"]
    assert protocol_name("lodo", 5) == "lodo"
    with pytest.raises(IncompatibleError, match="f1-AL-D has no protocol lodo; it has cv"):
        chosen(TASKS["f1-AL-D"], ["lodo"], 5)


def test_without_the_appendix_results_say_so(made: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "cinc2016"
    shutil.copytree(made / "cinc2016", root)
    (root / "annotations" / "Online_Appendix_training_set.csv").unlink()
    settings = run.Settings(root=root, results=tmp_path / "results")
    with pytest.warns(EtabWarning, match="Patients are unknown"):
        found = next(
            iter(
                execute.execute(run.plan("f0-PH-N", ["database_only"], protocols=("cv",)), settings)
            )
        )
    assert any("Patients are unknown" in note for note in found.settings["notes"])
    assert any("share databases" in note for note in found.settings["notes"])


# --- thresholds ---


def decided(code: str = "f2-AL-D") -> tuple[Array, Array, list[RowSplit], Features]:
    rng = np.random.default_rng(0)
    people = np.array([f"p{i:02d}" for i in range(60)])
    truth = (rng.random(60) < 0.4).astype(np.int64)
    x = (truth + rng.normal(0, 1.2, 60))[:, None].astype(np.float32)
    return (
        truth,
        people,
        row_splits(people, np.array([""] * 60), protocol="cv", n_fold=5),
        Features({"x": x}),
    )


def rules_for(
    truth: Array, people: Array, splits: list[RowSplit], features: Features
) -> list[decisions.Rule]:
    task = TASKS["f2-AL-D"]
    target = CircorSource.card.target("outcome")

    def answers(inner: list[RowSplit]) -> list[Array]:
        fits = heads.head("logistic").cross_fit(
            features, truth, people, inner, target, rng=np.random.default_rng(0)
        )
        return [f.predictions for f in fits]

    def table(rows: Array, scores: Array) -> dict[str, Array]:
        return {
            "truth": truth[rows].astype(float),
            "score": scores,
            "outcome": truth[rows].astype(float),
        }

    return decisions.choose(task, splits, people, answers, table)  # type: ignore[arg-type]


def test_a_threshold_never_sees_its_test_rows() -> None:
    truth, people, splits, features = decided()
    before = rules_for(truth, people, splits, features)
    for k, split in enumerate(splits):
        other = truth.copy()
        other[split.test] = 1 - other[split.test]
        moved = features.pooled["x"].copy()
        moved[split.test] = -5 * moved[split.test]
        after = rules_for(other, people, splits, Features({"x": moved}))
        assert after[k].threshold == pytest.approx(before[k].threshold, rel=1e-3)
        assert after[k].value == pytest.approx(before[k].value, rel=1e-6)


def test_inner_fits_answer_rows_they_never_saw() -> None:
    _, people, splits, _ = decided()
    inner, places = inner_fits(splits, people)
    assert len(inner) == 10  # two folds left out, whichever is the outer one
    for split, mine in zip(splits, places, strict=True):
        for part, place in zip(split.inner, mine, strict=True):
            fit = inner[place]
            assert not set(fit.train) & set(split.test)
            assert not set(fit.train) & set(part)
            assert set(part) <= set(fit.test)
            assert all(set(p) <= set(fit.train) for p in fit.inner)


def test_one_inner_part_is_split_by_patient() -> None:
    people = np.repeat([f"p{i}" for i in range(12)], 2)
    parts = np.repeat(["train"] * 8 + ["val"] * 2 + ["test"] * 2, 2)
    inner, _ = inner_fits(row_splits(people, parts, protocol="official"), people)
    (fit,) = inner
    assert len(fit.inner) == 3
    for part in fit.inner:
        assert not set(people[part]) & set(people[np.setdiff1d(fit.train, part)])


def test_the_best_rule_is_the_best_of_the_metric() -> None:
    truth = np.array([0.0, 0, 0, 1, 0, 1, 1, 1])
    score = np.linspace(0.1, 0.8, 8)
    task = replace(TASKS["f0-PH-N"], metric="macc")
    rule = decisions.best_rule(task, {"truth": truth, "score": score})
    assert 0.3 < rule.threshold < 0.4 or 0.5 < rule.threshold < 0.6
    assert rule.value == METRICS["macc"](
        {"truth": truth, "score": score, "answer": rule({"score": score})}, truth
    )
    murmur = {
        "truth": np.array([0.0, 1, 2, 2]),
        "score_0": np.array([0.3, 0.2, 0.1, 0.1]),
        "score_1": np.array([0.2, 0.3, 0.1, 0.1]),
        "score_2": np.array([0.5, 0.5, 0.8, 0.8]),
        "outcome": np.zeros(4),
    }
    assert decisions.best_rule(TASKS["f1-AL-D"], murmur).value == 1.0


# --- the confound ---


def test_random_folds_reward_knowing_the_database(made: Path) -> None:
    shown = confound.measure(
        made / "cinc2016", "mel_stats", labels=confound.by_letter, beside=False
    )
    assert shown.pooled > 0.85  # nothing of a patient decides these labels
    assert shown.lodo < 0.6


@pytest.mark.real
@pytest.mark.slow
def test_random_folds_promise_what_no_new_database_keeps(real_data: Path) -> None:
    shown = confound.measure(real_data / "cinc2016", "mel_stats")
    assert shown.pooled > 0.70
    assert shown.macro < 0.55
    assert shown.recognised > 0.75
