"""Rules of decided classes that no run writes: each is refused, and no board ends by them."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from etab.leaderboard.admission.admit import Admission, admit
from etab.tasks.menu import TASKS
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import edit, stranger

TWO = "f2-AL-D"  # two classes, decided by a threshold
THREE = "f1-AL-D"  # three classes, decided by factors

NEITHER = "states neither the threshold nor the factors of its decisions"
NOT_ITS_RULE = "do not follow from their scores and the stated rule"
RULES: dict[str, tuple[str, dict[str, Any], str]] = {
    "no rule": (TWO, {}, NEITHER),
    "another threshold": (TWO, {"threshold": 0.9}, NOT_ITS_RULE),
    "a threshold in words": (TWO, {"threshold": "0.5"}, NEITHER),
    "a threshold that is true": (TWO, {"threshold": True}, NEITHER),
    "a threshold in a list": (TWO, {"threshold": [0.5]}, NEITHER),
    "a threshold of 400 digits": (TWO, {"threshold": 10**400}, NEITHER),
    "factors in words for two classes": (TWO, {"factors": ["a", "b"]}, NEITHER),
    "factors in words": (THREE, {"factors": ["a", "b", "c"]}, NEITHER),
    "factors of nothing": (THREE, {"factors": [None, None, None]}, NEITHER),
    "factors in lists": (THREE, {"factors": [[1], [2], [3]]}, NEITHER),
    "some factors in lists": (THREE, {"factors": [[1], 2, 3]}, NEITHER),
    "a table of factors": (THREE, {"factors": [[1, 2, 3]] * 3}, NEITHER),
    "factors by name": (THREE, {"factors": {"Present": 1}}, NEITHER),
    "factors that are true": (THREE, {"factors": [True, True, True]}, NEITHER),
    "factors of objects": (THREE, {"factors": [{}, {}, {}]}, NEITHER),
    "a factor of 400 digits": (THREE, {"factors": [10**400, 1, 1]}, NEITHER),
    "factors beyond floats": (THREE, {"factors": [1e308, 1e308, 1e308]}, NOT_ITS_RULE),
    "factors below zero": (THREE, {"factors": [-1, -1, -1]}, NOT_ITS_RULE),
    "two factors for three classes": (THREE, {"factors": [1.0, 2.0]}, NEITHER),
}


def name_of(rule: str) -> str:
    return f"rule{sorted(RULES).index(rule)}"


@pytest.fixture(scope="module")
def admission(tmp_path_factory: pytest.TempPathFactory) -> Admission:
    """Honest results, and a record with each rule under a name of its own."""
    folder = tmp_path_factory.mktemp("decided") / "results"
    folders.sounds_folder(folder)
    for number, rule in enumerate(sorted(RULES)):
        code, choice, _ = RULES[rule]
        source = stranger(folder, code)
        path = source.parent.parent / name_of(rule) / source.name
        path.parent.mkdir()
        for suffix in (".json", ".csv"):
            shutil.copy(source.with_suffix(suffix), path.with_suffix(suffix))
        folds = [{**fold, "choice": choice} for fold in json.loads(path.read_text())["folds"]]
        edit(path, backbone=name_of(rule), weights_sha256=f"{number:064d}", folds=folds)
    return admit(folder, TASKS, lambda result: True)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_does_not_decide_is_refused(rule: str, admission: Admission) -> None:
    reasons = [f.reason for f in admission.refused if name_of(rule) in f.path.parts]
    assert len(reasons) == 1
    assert RULES[rule][2] in reasons[0]


def test_honest_decisions_stand(admission: Admission) -> None:
    standing = {(result.backbone, result.task) for result in admission.results}
    names = ("mel_stats", "image_stats", folders.STRANGER)
    assert standing == {(name, task) for name in names for task in folders.SOUND_TASKS}
