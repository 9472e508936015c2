"""Rows that contradict themselves, rows under other folds, and submissions that lie alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.leaderboard.admission.canonical import looks_published, other_rows, owner_of_masks
from etab.leaderboard.admission.entries import AdmittedEntry
from etab.leaderboard.admission.plausibility import implausible
from etab.leaderboard.admission.ranges import out_of_range
from etab.leaderboard.admission.submission import check_submission
from etab.leaderboard.suites import Suite
from etab.results import Predictions, Result
from etab.tasks.menu import TASKS
from etab.types import Kind
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import STRANGER, edit, edit_nested, stranger

RESULTS = folders.PUBLISHED / "results"
EF = Suite(name="ef", version=1, tasks=("b0-A4-C",))


def table_of(kind: Kind, columns: Mapping[str, Any]) -> Predictions:
    n = len(next(iter(columns.values())))
    names = tuple(f"r{i}" for i in range(n))
    return Predictions(kind, names, names, ("fold0",) * n, dict(columns))


def masks(**changes: list[float]) -> Predictions:
    """A mask that is the authors' own, and one that is not."""
    columns = {"dice": [1, 0.9], "jaccard": [1, 9 / 11], "hd95": [0, 4.5], "msd": [0, 1.5]}
    return table_of(Kind.MASK, {**columns, **changes})


def states(**changes: list[float]) -> Predictions:
    """A recording in which half of the sounds were found, and one without any."""
    columns = {
        "f1_100": [0.6, 0],
        "se_100": [0.5, 0],
        "ppv_100": [0.75, 0],
        "f1_60": [0.48, 0],
        "se_60": [0.4, 0],
        "ppv_60": [0.6, 0],
        "frame_accuracy": [0.7, 0.2],
        "s1_found": [3, 0],
        "s1_error_ms": [30, 0],
        "s1_late_ms": [-20, 0],
        "s2_found": [2, 0],
        "s2_error_ms": [10, 0],
        "s2_late_ms": [10, 0],
    }
    return table_of(Kind.STATES, {**columns, **changes})


CONTRADICTIONS: dict[str, tuple[Predictions, str]] = {
    "an equal mask far away": (masks(hd95=[3, 4.5]), "contradict each other"),
    "an equal mask beside itself": (masks(msd=[0.5, 1.5]), "contradict each other"),
    "another mask with the same border": (masks(hd95=[0, 0], msd=[0, 0]), "contradict each other"),
    "a mask a kilometre away": (masks(hd95=[0, 1e6]), "hd95 is 1e+06 in a row; wanted 0 to 10000"),
    "masks a kilometre apart": (masks(msd=[0, 1e6]), "msd is 1e+06 in a row; wanted 0 to 10000"),
    "a better f1 than its parts": (states(f1_100=[0.9, 0]), "f1 is 2 se ppv / (se + ppv)"),
    "an f1 of nothing": (states(f1_60=[0.48, 0.5]), "f1 is 2 se ppv / (se + ppv)"),
    "more sounds within 60 ms": (
        states(se_60=[0.6, 0], f1_60=[0.6, 0]),
        "a wider tolerance finds no fewer",
    ),
    "better answers within 60 ms": (
        states(ppv_60=[0.9, 0], f1_60=[2 * 0.4 * 0.9 / 1.3, 0]),
        "a wider tolerance finds no fewer",
    ),
    "half a sound": (states(s1_found=[2.5, 0]), "the timing of r0 cannot be"),
    "halves of two sounds": (states(s1_found=[2.5, 0], s2_found=[2.5, 0]), "the timing of r0"),
    "sounds that nobody found": (states(s1_found=[3, 2]), "the timing of r1 cannot be"),
    "later than it is off": (states(s2_late_ms=[40, 0]), "the timing of r0 cannot be"),
    "earlier than it is off": (states(s1_late_ms=[-31, 0]), "the timing of r0 cannot be"),
}


def test_rows_without_a_contradiction_stand() -> None:
    assert out_of_range(masks()) == ""
    assert out_of_range(states()) == ""


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_rows_that_contradict_themselves_are_refused(kind: str) -> None:
    table, words = CONTRADICTIONS[kind]
    assert words in out_of_range(table)


@pytest.mark.parametrize(
    "name",
    [
        "rnobilenetv2",
        "mobilenetv2+",
        "mobilenetv2@",
        "mobilenet/v2",
        "mobilenet:v2",
        "hed-vgg16",
        "re5emblyzer",
        "speech_ernbedding",
        "random/rnobilenetv2",
        "Random/MobileNetV2",
        "vit5l4_saliency",
    ],
)
def test_names_that_are_taken_for_published_ones(name: str) -> None:
    assert "which looks like the published" in looks_published(name)


@pytest.mark.parametrize("name", ["mobilenetv3", "mobilenetv2@112", "hed_v9916", "timm/resnet18"])
def test_names_of_their_own(name: str) -> None:
    assert looks_published(name) == ""


def published(code: str, name: str = "mobilenetv2") -> tuple[Result, Predictions]:
    (path,) = (RESULTS / "camus" / code / name).glob("cv5x5-*.json")
    result = Result.load(path)
    return result, result.predictions(RESULTS)


@pytest.mark.parametrize("changes", [{"seed": 7}, {"protocol": "cv10x2"}, {"protocol": "cv4x3"}])
def test_rows_of_other_folds_are_those_of_the_release(changes: dict[str, Any]) -> None:
    """No canonical table has these folds, but the patients and their truth are known."""
    result, table = published("b0-A4-C")
    under_others = replace(result, **changes)
    assert other_rows(under_others, table) == ""
    truth = table.columns["truth"] + (np.arange(len(table.items)) == 3)
    forged = folders.with_columns(table, {**table.columns, "truth": truth}, repeats=table.repeats)
    assert "its rows are not those of b0-A4-C" in other_rows(under_others, forged)
    patients = ("nobody", *table.patients[1:])
    renamed = folders.with_columns(table, table.columns, patients=patients, repeats=table.repeats)
    assert "its rows are not those of b0-A4-C" in other_rows(under_others, renamed)


def test_the_authors_parts_do_not_depend_on_the_seed() -> None:
    (path,) = (RESULTS / "camus/b0-A4-C/mobilenetv2").glob("official-stack-*.json")
    result = replace(Result.load(path), seed=5)
    table = Result.load(path).predictions(RESULTS)
    assert other_rows(result, table) == ""
    forged = folders.with_columns(table, {**table.columns, "truth": table.columns["score"]})
    assert "its rows are not those of b0-A4-C" in other_rows(result, forged)


def test_masks_of_a_published_backbone_are_marked() -> None:
    result, table = published("a0-A4-C", "image_stats")
    copied = replace(result, backbone=STRANGER, weights_sha256=folders.SHA)
    assert owner_of_masks(copied) == "image_stats"
    worse = {name: 0.99 * table.columns[name] for name in ("dice", "hd95", "msd")}
    columns = {**worse, "jaccard": worse["dice"] / (2 - worse["dice"])}
    entry = AdmittedEntry(
        copied,
        folders.with_columns(table, columns, repeats=table.repeats),
        TASKS["a0-A4-C"],
    )
    reasons = [reason for _, reason in implausible({(STRANGER, "a0-A4-C"): entry})]
    assert "its masks are those of image_stats, bit for bit" in reasons
    original = AdmittedEntry(result, table, TASKS["a0-A4-C"])
    assert list(implausible({("image_stats", "a0-A4-C"): original})) == []


def test_two_strangers_whose_names_are_taken_for_each_other_are_marked() -> None:
    result, table = published("b0-A4-C")
    entries = {}
    for number, name in enumerate(("Clinic-1", "clinic_l")):
        other = replace(result, backbone=name, weights_sha256=f"{number + 1}" * 64)
        score = np.random.default_rng(number).normal(50, 10, len(table.items))
        columns = {**table.columns, "score": score}
        changed = folders.with_columns(table, columns, repeats=table.repeats)
        entries[name, "b0-A4-C"] = AdmittedEntry(other, changed, TASKS["b0-A4-C"])
    reasons = {cell[0]: reason for cell, reason in implausible(entries) if "its name" in reason}
    assert reasons == {
        "Clinic-1": "its name looks like that of clinic_l",
        "clinic_l": "its name looks like that of Clinic-1",
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One result of a stranger, and nothing beside it."""
    folder = tmp_path_factory.mktemp("alone") / "results"
    folders._rename(RESULTS, folder, "b0-A4-C", "vits14_saliency")
    return folder


ALONE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a million training rows": (lambda p: edit(p, n_train=10**6), "its n_train is 1000000"),
    "one training row": (lambda p: edit(p, n_train=1), "its n_train is 1"),
    "training patients": (lambda p: edit(p, n_train_patients=10**6), "n_train_patients is 1000000"),
    "another head": (lambda p: edit_nested(p, "settings", head_version=9), "head_version is 9"),
    "another run": (lambda p: edit_nested(p, "settings", runs_version=9), "runs_version is 9"),
    "an aggregate": (lambda p: edit_nested(p, "settings", aggregate="mean"), "aggregate is mean"),
    "another training": (
        lambda p: edit_nested(p, "settings", fit_data_digest="e" * 64),
        "fit_data_digest is eeee",
    ),
    "missing rows": (lambda p: edit(p, missing=[["x", "lost"]]), "missing is 1 row from x on"),
}


def test_an_honest_result_alone_is_accepted(alone: Path) -> None:
    assert check_submission(alone, EF, protocol="cv5").accepted


@pytest.mark.parametrize("kind", ALONE)
def test_a_result_alone_is_compared_with_the_published_ones(
    kind: str, alone: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(alone, tmp_path / "results"))
    change, words = ALONE[kind]
    change(stranger(folder))
    (finding,) = check_submission(folder, EF, protocol="cv5").refused
    assert words in finding.reason
    assert "in the published results it is" in finding.reason
