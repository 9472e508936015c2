"""Folders that a stranger forged: each is refused, marked, or shown for what it is; none stops a board."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.leaderboard.admission.admit import Admission, admit
from etab.leaderboard.ranking import rank_folder
from etab.precisions import FORMATS
from etab.results import Result
from etab.storage.atomic import slug
from etab.tasks.menu import TASKS
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import (
    CAMUS_TASKS,
    HONEST,
    STRANGER,
    Columns,
    edit,
    edit_all,
    edit_nested,
    forge,
    load,
    renamed,
    rows,
    save,
    stranger,
    with_columns,
)

Forgery = Callable[[Path], object]


def _columns(code: str, **changes: Callable[[Columns], Any]) -> Forgery:
    """Replace columns of the stranger's table by functions of all its columns."""

    def forged(folder: Path) -> None:
        def change(columns: Columns) -> None:
            new = {name: function(columns) for name, function in changes.items()}
            columns.update(new)

        forge(folder, code, change)

    return forged


def _record(code: str = "b0-A4-C", **changes: Any) -> Forgery:
    return lambda folder: edit(stranger(folder, code), **changes)


def _settings(code: str = "b0-A4-C", **changes: Any) -> Forgery:
    return lambda folder: edit_nested(stranger(folder, code), "settings", **changes)


def _name(name: str) -> Forgery:
    return lambda folder: renamed(folder, name)


def _all_worst_one_patient(folder: Path) -> None:
    _, table = load(folder, "a0-A4-C")
    worst = set(np.argsort(table.columns["dice"])[: int(0.6 * len(table.items))].tolist())
    rows(
        folder,
        "a0-A4-C",
        patients=lambda facts: [
            "patient0001" if i in worst else patient for i, patient in enumerate(facts["patients"])
        ],
    )


def _easiest(folder: Path) -> None:
    """Leave the hardest rows out."""
    rows(
        folder,
        "b0-A4-C",
        keep=lambda t: np.sort(np.argsort(np.abs(t.columns["score"] - t.columns["truth"]))[:300]),
    )


def _of_other(code: str, other: str, noise: float = 0.0) -> Forgery:
    """Hand in another backbone's predictions."""

    def forged(folder: Path) -> None:
        result, _ = load(folder, code)
        _, table = load(folder, code, other)
        columns = {name: np.array(column) for name, column in table.columns.items()}
        rng = np.random.default_rng(0)
        columns["score"] = columns["score"] + noise * rng.standard_normal(len(table.items))
        save(folder, result, with_columns(table, columns))

    return forged


def _most_of_other(folder: Path) -> None:
    """Four of five predictions are another backbone's."""
    _, other = load(folder, "b0-A4-C", "mobilenetv2")
    copied = np.random.default_rng(0).random(len(other.items)) < 0.8
    forge(
        folder,
        "b0-A4-C",
        lambda c: c.update(score=np.where(copied, other.columns["score"], c["score"])),
    )


def _on_another_scale(folder: Path) -> None:
    _, other = load(folder, "b0-A4-C", "mobilenetv2")
    forge(folder, "b0-A4-C", lambda c: c.update(score=0.9 * other.columns["score"] + 5))


def _best_of_rows(folder: Path) -> None:
    result, _ = load(folder, "b0-A4-C")
    tables = [load(folder, "b0-A4-C", name)[1] for name in HONEST]
    scores = np.stack([table.columns["score"] for table in tables])
    truth = tables[0].columns["truth"]
    best = np.abs(scores - truth).argmin(axis=0)
    columns = {"truth": truth, "score": scores[best, np.arange(len(truth))]}
    save(folder, result, with_columns(tables[0], columns))


def _second_head(folder: Path) -> None:
    result, table = load(folder, "b0-A4-C")
    save(folder, result, table, head="knn")


def _only_other_head(folder: Path) -> None:
    _second_head(folder)
    path = next(p for p in stranger_files(folder, "b0-A4-C") if "ridge" in p.name)
    path.unlink()


def stranger_files(folder: Path, code: str) -> list[Path]:
    parent = folder / TASKS[code].dataset / slug(code) / slug(STRANGER)
    return sorted(parent.glob("*.json"))


def _replace(write: Callable[[Path], object]) -> Forgery:
    """Put something else where the record of the stranger's b0 was."""

    def forged(folder: Path) -> None:
        path = stranger(folder)
        path.unlink()
        write(path)

    return forged


def _link_out(folder: Path) -> None:
    path = stranger(folder)
    target = folder.parent / "elsewhere.json"
    shutil.move(path, target)
    path.symlink_to(target)


def _table_link(folder: Path) -> None:
    path = stranger(folder).with_suffix(".csv")
    target = folder.parent / "elsewhere.csv"
    shutil.move(path, target)
    path.symlink_to(target)


def _folder_link(folder: Path) -> None:
    path = stranger(folder).parent
    target = folder.parent / "elsewhere"
    shutil.move(path, target)
    path.symlink_to(target)


def _twice(folder: Path) -> None:
    path = stranger(folder)
    path.write_text(path.read_text().replace('"value":', '"value": 1.0, "value":', 1))


def _deep(folder: Path) -> None:
    path = stranger(folder)
    to = path.parent.joinpath(*("deep" for _ in range(12)))
    to.mkdir(parents=True)
    shutil.move(path, to / path.name)


def _huge(path: Path) -> None:
    with path.open("w") as file:
        file.write("{")
        file.seek(5 << 20)
        file.write("}")


def _csv_lines(change: Callable[[list[str]], list[str]]) -> Forgery:
    """Change the lines of the table as text, and its digest in the record."""

    def forged(folder: Path) -> None:
        path = stranger(folder)
        lines = path.with_suffix(".csv").read_text().splitlines()
        _new_text(path, "\n".join(change(lines)) + "\n")

    return forged


def _bad(folder: Path) -> None:
    edit(
        stranger(folder),
        bad={"recordings": [["patient0001_4CH", "x"]], "lost": [], "partly": [], "patients": 500},
    )


def _no_digest_in_any_record(folder: Path) -> None:
    """All records agree, so that only the form of the digest tells."""
    for code in CAMUS_TASKS:
        edit(stranger(folder, code), weights_sha256="trust me")


def _two_data(folder: Path) -> None:
    edit(stranger(folder), data_digest="a" * 64)


REFUSED: dict[str, Forgery] = {
    "a better value": _record(value=3.0),
    "a better value within its interval": _record(value=7.2, low=7.0, high=7.4),
    "a better value of 2022": lambda f: edit_nested(stranger(f), "metrics", r2=0.9),
    "the value among the metrics is edited": lambda f: edit_nested(stranger(f), "metrics", mae=1.0),
    "another metric is edited": lambda f: edit_nested(stranger(f), "metrics", rmse=1.0),
    "the metric of 2022 is missing": lambda f: edit(stranger(f), metrics={"mae": 1.0}),
    "an interval that lies": _record(low=0.1, high=0.2),
    "an interval of another level": _record(level=0.5),
    "values of folds that do not follow": lambda f: edit(
        stranger(f),
        folds=[{**fold, "value": 1.0} for fold in json.loads(stranger(f).read_text())["folds"]],
    ),
    "folds that are not there": lambda f: edit(
        stranger(f), folds=json.loads(stranger(f).read_text())["folds"] * 2
    ),
    "no folds": _record(folds=[]),
    "fold sizes that do not follow": lambda f: edit(
        stranger(f),
        folds=[{**fold, "n_test": 3} for fold in json.loads(stranger(f).read_text())["folds"]],
    ),
    "more patients than there are": _record(n_patients=5000),
    "more rows than there are": _record(n_test=5000),
    "no digest of the weights": _record(weights_sha256="trust me"),
    "no digest of the weights anywhere": _no_digest_in_any_record,
    "an empty digest of the weights": _record(weights_sha256=""),
    "other weights in one task": _record(weights_sha256="7" * 64),
    "other data": _two_data,
    "a digest of the data that is none": _record(data_digest="CAMUS"),
    "another version of the task": _record(task_version=99),
    "better anchors": _record(anchor_low=20.0),
    "another metric than the task's": _record(metric="rmse"),
    "another dataset": _record(dataset="echonet"),
    "another version of the head": _settings(head_version=99),
    "another version of the runs": _settings(runs_version=99),
    "another aggregate": _settings(aggregate="mean"),
    "phantom beside patients": _record(phantom=True),
    "left out recordings, complete data": _bad,
    "dice is 5": _columns("a0-A4-C", dice=lambda c: 0 * c["dice"] + 5, jaccard=lambda c: c["dice"]),
    "dice is negative": _columns("a0-A4-C", dice=lambda c: c["dice"] - 1),
    "dice that is not of its jaccard": _columns("a0-A4-C", dice=lambda c: 0 * c["dice"] + 0.99),
    "jaccard that is not of its dice": _columns("a0-A4-C", jaccard=lambda c: 0.1 * c["dice"]),
    "negative hd95": _columns("a0-A4-C", hd95=lambda c: -c["hd95"]),
    "negative msd": _columns("a0-A4-C", msd=lambda c: -c["msd"]),
    "probabilities of a billion": _columns("d0-A4-C", score=lambda c: c["score"] * 1e9),
    "negative probabilities": _columns("d0-A4-C", score=lambda c: c["score"] - 1),
    "log-odds for probabilities": _columns("d0-A4-C", score=lambda c: 10 * c["score"] - 5),
    "probabilities that do not sum to 1": _columns("c0-AX-C", score_1=lambda c: 0.9 * c["score_1"]),
    "a third class": lambda f: _added(f, "c0-AX-C", "score_2"),
    "values beyond reason": _columns("b0-A4-C", score=lambda c: c["score"] * 1e12),
    "a truth beside masks": _columns("a0-A4-C", truth=lambda c: c["dice"]),
    "a column that nobody knows": _columns("b0-A4-C", weight=lambda c: c["truth"]),
    "the truth is the score": _columns("b0-A4-C", truth=lambda c: np.round(c["score"])),
    "one truth is changed": _columns(
        "b0-A4-C", truth=lambda c: np.where(np.arange(len(c["truth"])) == 7, 33, c["truth"])
    ),
    "classes are swapped": _columns("d0-A4-C", truth=lambda c: 1 - c["truth"]),
    "the worst frames are one patient's": _all_worst_one_patient,
    "patients are renamed": lambda f: rows(
        f, "b0-A4-C", patients=lambda t: [f"!{p}" for p in t["patients"]]
    ),
    "one patient is unknown": lambda f: rows(
        f, "b0-A4-C", patients=lambda t: ["nobody", *t["patients"][1:]]
    ),
    "everything is one patient": lambda f: rows(
        f, "b0-A4-C", patients=lambda t: ["p"] * len(t["patients"])
    ),
    "patients are shuffled": lambda f: rows(f, "b0-A4-C", patients=lambda t: t["patients"][::-1]),
    "all folds are one": lambda f: rows(f, "b0-A4-C", folds=lambda t: ["fold0"] * len(t["folds"])),
    "folds without names": lambda f: rows(f, "b0-A4-C", folds=lambda t: [""] * len(t["folds"])),
    "other folds": lambda f: rows(f, "b0-A4-C", folds=lambda t: t["folds"][::-1]),
    "items are renamed": lambda f: rows(
        f, "b0-A4-C", items=lambda t: [f"x{i}" for i in t["items"]]
    ),
    "the hardest rows are missing": _easiest,
    "one row is missing": lambda f: rows(f, "b0-A4-C", keep=lambda t: np.arange(1, len(t.items))),
    "one row only": lambda f: rows(f, "a0-A4-C", keep=lambda t: np.arange(2)),
    "a row too many": _csv_lines(lambda lines: [*lines, "value,extra,patient0001,fold0,50,50"]),
    "a row twice": _csv_lines(lambda lines: [*lines, lines[1]]),
    "no rows": _csv_lines(lambda lines: lines[:1]),
    "a number that is none": _csv_lines(lambda lines: [*lines[:-1], lines[-1] + "x"]),
    "nan": _csv_lines(lambda lines: [*lines[:-1], ",".join([*lines[-1].split(",")[:-1], "nan"])]),
    "infinity": _csv_lines(
        lambda lines: [*lines[:-1], ",".join([*lines[-1].split(",")[:-1], "inf"])]
    ),
    "another kind": _csv_lines(lambda lines: [line.replace("value,", "binary,") for line in lines]),
    "two kinds": _csv_lines(lambda lines: [*lines[:-1], lines[-1].replace("value,", "mask,")]),
    "predictions edited": lambda f: stranger(f).with_suffix(".csv").write_text("kind,item\n"),
    "predictions missing": lambda f: stranger(f).with_suffix(".csv").unlink(),
    "html in the name": _name("<script>alert(1)</script>"),
    "a line break in the name": _name("model\nrank 1"),
    "an escape sequence in the name": _name("\x1b[2Jmodel"),
    "text that runs backwards in the name": _name("model\u202egnp.exe"),
    "a name that looks like another": _name("m\u043ebilenetv2"),
    "a space at the end of the name": _name("mobilenetv2 "),
    "a name of 5000 letters": _name("x" * 5000),
    "a name that climbs": _name("../../etc/passwd"),
    "a formula as a name": _name('=HYPERLINK("http://x")'),
    "a link as a name": _name("[x](javascript:alert(1))"),
    "a picture as a name": _name("![x](http://beacon)"),
    "a zero byte in the name": _name("model\x00"),
    "an empty name": lambda f: edit(stranger(f), backbone=""),
    "a published name in other letters": _name("MobileNetV2"),
    "a published name with a digit for a letter": _name("mobi1enetv2"),
    "a published name with a letter for a digit": _name("efficientnet_liteO"),
    "a published name with a dash": _name("efficientnet-lite0"),
    "a published name with a dot behind": _name("mobilenetv2."),
    "the twin of a twin": lambda f: [
        renamed(f, name, code)
        for name, code in (("random/x", "a0-A4-C"), ("random/random/x", "b0-A4-C"))
    ],
    "a decision beside values": lambda f: _added(f, "b0-A4-C", "answer"),
    "a link to a folder": _folder_link,
    "a twin of nobody": _name("random/none"),
    "a twin of nobody, all tasks": lambda f: [
        renamed(f, "random/none", code) for code in CAMUS_TASKS
    ],
    "a damaged record": _replace(lambda p: p.write_text('{"schema": 1, "task"')),
    "a record of something else": _replace(lambda p: p.write_text('{"name": "package"}')),
    "a list": _replace(lambda p: p.write_text("[1, 2]")),
    "infinity in a record": lambda f: stranger(f).write_text(
        stranger(f).read_text().replace('"level": 0.95', '"level": Infinity')
    ),
    "nested beyond reason": _replace(lambda p: p.write_text("[" * 200_000)),
    "a number beyond floats": _record(value=10**400),
    "a field twice": _twice,
    "a folder for a record": _replace(lambda p: p.mkdir()),
    "a record that is not text": _replace(lambda p: p.write_bytes(b"\xff\xfe\x00")),
    "a link to a record": _link_out,
    "a link to a system file": _replace(lambda p: p.symlink_to("/etc/passwd")),
    "a link to nothing": _replace(lambda p: p.symlink_to("/nowhere/at/all")),
    "a link to predictions": _table_link,
    "a pipe": _replace(lambda p: os.mkfifo(p)),
    "a record of five megabytes": _replace(_huge),
    "a record too deep": _deep,
    "a record of another cell": _record(task="a0-A4-C"),
}

# Forgeries that a later check would refuse too: the words of the check that is meant for them.
REASONS = {
    "a published name with a dash": "looks like the published efficientnet_lite0",
    "a published name with a dot behind": "looks like the published mobilenetv2",
    "the twin of a twin": "the untrained twin of random/x, itself a twin",
    "dice is 5": "dice is 5 in a row",
    "dice that is not of its jaccard": "contradict each other",
    "a link to a record": "it is a link",
    "a link to a system file": "it is a link",
    "a link to nothing": "it is a link",
    "a record of five megabytes": "larger than 4 MiB",
    "a digest of the data that is none": "wanted the 64 hexadecimal digits",
    "an empty digest of the weights": "wanted the 64 hexadecimal digits",
}

FLAGGED: dict[str, tuple[Forgery, str]] = {
    "perfect predictions": (_columns("b0-A4-C", score=lambda c: c["truth"]), "perfect"),
    "perfect classes": (_columns("d0-A4-C", score=lambda c: c["truth"]), "perfect"),
    "perfect masks": (
        _columns(
            "a0-A4-C",
            dice=lambda c: 0 * c["dice"] + 1,
            jaccard=lambda c: 0 * c["dice"] + 1,
            hd95=lambda c: 0 * c["dice"],
            msd=lambda c: 0 * c["dice"],
        ),
        "perfect",
    ),
    "fitted to the test rows": (
        _columns("b0-A4-C", score=lambda c: 0.9 * c["truth"] + 0.1 * c["score"]),
        "better than the reference",
    ),
    "one value for everybody": (_columns("b0-A4-C", score=lambda c: 0 * c["score"] + 55), "same"),
    "one class for everybody": (_columns("d0-A4-C", score=lambda c: 0 * c["score"] + 0.3), "same"),
    "a copy under a new name": (_of_other("b0-A4-C", "mobilenetv2"), "those of mobilenetv2"),
    "a copy with noise": (_of_other("b0-A4-C", "mobilenetv2", 0.01), "those of mobilenetv2"),
    "the best of all, row by row": (_best_of_rows, "row by row"),
    "another unit": (_columns("b0-A4-C", score=lambda c: c["score"] / 100), "another unit"),
    "rows of another backbone": (_most_of_other, "% of its predictions are those of mobilenetv2"),
    "a copy on another scale": (_on_another_scale, "those of mobilenetv2"),
    "another precision in one task": (_settings(precision="fp32"), "its precision"),
    "another picture size in one task": (_settings(size=512), "its size"),
    "a copy of etab with changes": (
        lambda f: edit_nested(stranger(f), "provenance", dirty=True),
        "changes that are in no commit",
    ),
    "weights of another backbone": (
        lambda f: edit_all(f, weights_sha256=load(f, "b0-A4-C", "mobilenetv2")[0].weights_sha256),
        "weights are those of mobilenetv2",
    ),
    "started in two hundred years": (
        lambda f: edit_nested(stranger(f), "provenance", started="2226-01-01T00:00:00+00:00"),
        "was started on 2226-01-01, which has not come yet",
    ),
    "says that it is a control": (
        lambda f: [edit_nested(stranger(f, c), "settings", family="control") for c in CAMUS_TASKS],
        "no control of this name",
    ),
}


def _sound(code: str = "f1-AL-D", **changes: Callable[[Columns], Any]) -> Forgery:
    return _columns(code, **changes)


SOUNDS: dict[str, Forgery] = {
    "decisions are the truth": _sound(answer=lambda c: c["truth"]),
    "one decision does not follow": _sound(
        answer=lambda c: np.where(np.arange(len(c["answer"])) == 3, 2 - c["answer"], c["answer"])
    ),
    "a decision for a class that is none": _sound(answer=lambda c: c["answer"] + 7),
    "outcomes are made up": _sound(outcome=lambda c: c["truth"]),
    "outcomes are swapped": _sound("f2-AL-D", outcome=lambda c: 1 - c["outcome"]),
    "no outcomes": lambda f: _drop(f, "f2-AL-D", "outcome"),
    "no decisions": lambda f: _drop(f, "f2-AL-D", "answer"),
    "a group is made up": _sound(group=lambda c: c["truth"]),
}


def _added(folder: Path, code: str, name: str) -> None:
    result, table = load(folder, code)
    path = save(folder, result, table)
    _new_text(
        path, with_columns(table, {**table.columns, name: 0 * table.columns["truth"]}).to_csv()
    )


def _new_text(path: Path, text: str) -> None:
    path.with_suffix(".csv").write_text(text)
    edit(path, predictions_sha256=hashlib.sha256(text.encode()).hexdigest())


def _drop(folder: Path, code: str, name: str) -> None:
    result, table = load(folder, code)
    columns = {key: column for key, column in table.columns.items() if key != name}
    path = save(folder, result, table)
    _new_text(path, with_columns(table, columns).to_csv())


def _some(forgeries: Mapping[str, object]) -> list[Any]:
    """Every third forgery in each run of the tests; the others with the slow tests."""
    return [
        name if i % 3 == 0 else pytest.param(name, marks=pytest.mark.slow)
        for i, name in enumerate(forgeries)
    ]


@pytest.fixture(scope="module")
def camus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("camus") / "results"
    folders.camus_folder(folder)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds") / "results"
    folders.sounds_folder(folder)
    return folder


@pytest.fixture(autouse=True)
def stopped_when_it_waits() -> Iterator[None]:
    """Fail a test that waits for a pipe, in place of waiting for ever."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError("it waits for something that never comes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def admitted(folder: Path) -> Admission:
    return admit(folder, TASKS, lambda result: True)


def standing(admission: Admission, backbone: str) -> set[str]:
    return {result.task for result in admission.results if result.backbone == backbone}


def copied(source: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    shutil.copytree(source, folder)
    return folder


def test_honest_results_stand_without_a_remark(camus: Path, sounds: Path) -> None:
    for folder, names, tasks in (
        (camus, (*HONEST, STRANGER), CAMUS_TASKS),
        (sounds, ("mel_stats", STRANGER), folders.SOUND_TASKS),
    ):
        admission = admitted(folder)
        assert [str(f) for f in admission.refused] == []
        for name in names:
            assert standing(admission, name) == set(tasks)
    assert [str(f) for f in admitted(camus).flagged] == []


@pytest.mark.parametrize("forgery", _some(REFUSED))
def test_forged_results_are_refused(forgery: str, camus: Path, tmp_path: Path) -> None:
    folder = copied(camus, tmp_path)
    before = {p for p in folder.rglob("*.json") if slug(STRANGER) in p.parts}
    REFUSED[forgery](folder)
    admission = admitted(folder)
    for name in HONEST:
        assert standing(admission, name) == set(CAMUS_TASKS), "an honest result paid for it"
    foreign = [r for r in admission.results if r.backbone not in HONEST]
    assert len(foreign) < len(before)
    assert admission.refused, "it is missing without a word"
    for finding in admission.refused:
        assert len(finding.reason) > 15
        assert len(finding.reason) < 1200
    reasons = [finding.reason for finding in admission.refused]
    assert any(REASONS.get(forgery, "") in reason for reason in reasons), reasons


@pytest.mark.parametrize("forgery", _some(FLAGGED))
def test_remarkable_results_are_marked(forgery: str, camus: Path, tmp_path: Path) -> None:
    folder = copied(camus, tmp_path)
    change, words = FLAGGED[forgery]
    change(folder)
    admission = admitted(folder)
    assert admission.refused == ()
    reasons = [f.reason for f in admission.flagged if f.backbone == STRANGER]
    assert any(words in reason for reason in reasons), reasons
    assert {f.backbone for f in admission.flagged} == {STRANGER}


def test_a_precision_with_a_backend_is_ranked_only_where_it_is_named(
    camus: Path, tmp_path: Path
) -> None:
    folder = copied(camus, tmp_path)
    edit_nested(stranger(folder), "settings", precision="bf16-openvino")
    (finding,) = admitted(folder).refused
    assert "its precision is bf16-openvino; the board compares fp32, bf16" in finding.reason
    named = admit(folder, TASKS, lambda result: True, (*FORMATS, "bf16-openvino"))
    assert named.refused == ()


@pytest.mark.parametrize("forgery", SOUNDS)
def test_forged_sounds_are_refused(forgery: str, sounds: Path, tmp_path: Path) -> None:
    folder = copied(sounds, tmp_path)
    SOUNDS[forgery](folder)
    admission = admitted(folder)
    assert standing(admission, "mel_stats") == set(folders.SOUND_TASKS)
    assert len(standing(admission, STRANGER)) == 1
    assert admission.refused


def test_a_result_by_another_head_alone_is_not_mixed_with_the_others(
    camus: Path, tmp_path: Path
) -> None:
    folder = copied(camus, tmp_path)
    _only_other_head(folder)
    admission = admitted(folder)
    assert standing(admission, STRANGER) == set(CAMUS_TASKS) - {"b0-A4-C"}
    assert "its head is knn" in admission.refused[0].reason


def test_unknown_data_stand_for_themselves(camus: Path, tmp_path: Path) -> None:
    """A release that etab does not know makes a board of its own, without canonical tables."""
    folder = copied(camus, tmp_path)
    for path in folder.rglob("*.json"):
        edit(path, data_digest="e" * 64)
    admission = admitted(folder)
    assert admission.refused == ()
    assert standing(admission, STRANGER) == set(CAMUS_TASKS)


def test_the_board_stands_and_says_what_is_wrong(
    camus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etab.leaderboard.ranking.DRAWS", 50)
    folder = copied(camus, tmp_path)
    suite = tmp_path / "four.toml"
    suite.write_text(f'name = "four"\nversion = 1\ntasks = {json.dumps(list(CAMUS_TASKS))}\n')
    REFUSED["a better value"](folder)
    FLAGGED["one class for everybody"][0](folder)
    board = rank_folder(folder, str(suite), protocol="cv5")
    by_name = {row.backbone: row for row in board.rows}
    assert not by_name[STRANGER].ranked
    assert all(by_name[name].ranked for name in HONEST)
    assert board.notes[0].startswith("SET ASIDE: 1 result file is not part of this board")
    assert board.notes[1].startswith(f"FLAGGED: {STRANGER} (d0-A4-C): its predictions are the same")
    kinds = {row.backbone: row.kind for row in board.rows}
    assert kinds["image_stats"] == "control"
    assert kinds[STRANGER] == "pretraining not stated"


def test_there_are_enough_forgeries() -> None:
    assert len(REFUSED) + len(FLAGGED) + len(SOUNDS) >= 90
    assert isinstance(Result, type)
