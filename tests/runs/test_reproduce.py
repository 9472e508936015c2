"""``etab reproduce``: the same numbers come out, or the difference is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import etab
from etab.cli.main import app
from etab.cli.reproduce import _in_words
from etab.cli.vectors import keys_of
from etab.errors import EtabError, ResultError
from etab.results import Result
from etab.runs.reproduce import Reproduction, _other_machine, reproduce
from etab.tasks.lists import _read


@pytest.fixture(scope="module")
def root(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def stored(root: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("stored")
    etab.evaluate("image_stats", tasks="b0-A4-C", root=root, results=results, cache=cache)
    (path,) = results.rglob("*.json")
    return path


def edited(stored: Path, tmp_path: Path, *, table: str | None = None, **changes: Any) -> Path:
    """The record with other fields, beside its predictions or those that are given."""
    path = alone(stored, tmp_path, **changes)
    text = stored.with_suffix(".csv").read_text() if table is None else table
    path.with_suffix(".csv").write_text(text)
    return path


def alone(stored: Path, tmp_path: Path, **changes: Any) -> Path:
    """The record with other fields, without predictions beside it."""
    record = json.loads(stored.read_text())
    record.update(changes)
    path = tmp_path / stored.name
    path.write_text(json.dumps(record))
    return path


def elsewhere(stored: Path) -> dict[str, Any]:
    """The provenance of the stored result, as a machine with another processor records it."""
    record = json.loads(stored.read_text())
    return {**record["provenance"], "processor": "another one"}


def test_the_same_machine_gives_the_same_bytes(stored: Path, root: Path) -> None:
    reproduction = reproduce(stored, root=root)
    assert reproduction.identical
    assert reproduction.reproduced
    assert reproduction.same_machine
    assert reproduction.rows_differ == 0


@pytest.mark.usefixtures("forget_own_data")
def test_datasets_without_tasks_in_the_menu_have_those_of_their_cards(
    stored: Path, tmp_path: Path
) -> None:
    path = alone(stored, tmp_path, task="b0-AL-F", dataset="dicom")
    with pytest.raises(ResultError, match=r"b0-AL-F with image_stats: metric is mae in the result"):
        reproduce(path, root=tmp_path)


def test_other_predictions_on_the_same_machine_are_not_the_same_result(
    stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    path = alone(stored, tmp_path, predictions_sha256="0" * 64)
    reproduction = reproduce(path, root=root, cache=cache)
    assert reproduction.same_machine
    assert reproduction.rows_differ is None
    assert not reproduction.reproduced


@pytest.mark.parametrize(("share", "reproduced"), [(0.2, True), (0.3, False)])
def test_another_machine_may_differ_by_a_quarter_of_the_half_width(
    share: float, reproduced: bool, stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    record = json.loads(stored.read_text())
    half_width = (record["high"] - record["low"]) / 2
    path = alone(
        stored,
        tmp_path,
        value=record["value"] + share * half_width,
        predictions_sha256="0" * 64,
        provenance=elsewhere(stored),
    )
    reproduction = reproduce(path, root=root, cache=cache)
    assert not reproduction.same_machine
    assert reproduction.reproduced is reproduced


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"instructions": "25 17 avx avx2 avx512_bf16 avx512f fma"}, "instructions 25 17 avx"),
        ({"instructions": None}, "instructions not stated, here "),
    ],
)
def test_one_processor_with_other_instructions_is_another_machine(
    told: dict[str, Any], words: str, stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    """A virtual machine may hide instructions, so that libraries compute by other code."""
    record = json.loads(stored.read_text())
    provenance = {**record["provenance"], **told}
    provenance = {name: fact for name, fact in provenance.items() if fact is not None}
    folds = [{**fold, "value": fold["value"] * (1 + 1e-5)} for fold in record["folds"]]
    changes = {"folds": folds, "predictions_sha256": "0" * 64, "provenance": provenance}
    reproduction = reproduce(alone(stored, tmp_path, **changes), root=root, cache=cache)
    assert reproduction.reproduced
    (other,) = reproduction.other_machine
    assert other.startswith(words)
    here = alone(stored, tmp_path, **{**changes, "provenance": record["provenance"]})
    assert not reproduce(here, root=root, cache=cache).reproduced


def test_bf16_where_it_is_emulated_is_another_machine(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Result.load(stored)
    settings = {**result.settings, "precision": "bf16"}
    in_bf16 = Result(**{**result._whole(), "settings": settings})
    for here, words in ((True, []), (False, ["precision bf16, which this machine only emulates"])):
        monkeypatch.setattr("etab.runs.reproduce.has_bf16", lambda device, has=here: has)
        assert [*_other_machine(in_bf16, result.provenance)] == words


@pytest.mark.parametrize("name", ["data_digest", "weights_sha256"])
def test_other_inputs_are_an_error(
    name: str, stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    path = edited(stored, tmp_path, **{name: "0" * 64})
    with pytest.raises(ResultError, match="with 000000000000 there"):
        reproduce(path, root=root, cache=cache)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "cv5-finetune"}, "only cells of frozen backbones"),
        ({"backbone": "nobody"}, "nobody"),
        ({"head": "nothing"}, "nothing"),
    ],
)
def test_what_cannot_be_computed_again_is_named(
    changes: dict[str, str], words: str, stored: Path, tmp_path: Path
) -> None:
    with pytest.raises(EtabError, match=words):
        reproduce(edited(stored, tmp_path, **changes), root=tmp_path)


def _settings(stored: Path, **changes: Any) -> dict[str, Any]:
    return {"settings": {**json.loads(stored.read_text())["settings"], **changes}}


CONTRADICTED = {
    "a better value": ({"value": 0.1}, "it says mae 0.1"),
    "a better metric": ({"metrics": {"mae": 0.1, "r2": 0.9}}, "contradict it"),
    "a wide interval": ({"low": -1e9, "high": 1e9}, "its interval is"),
    "more patients": ({"n_patients": 5000}, "n_patients is 5000"),
    "no patients in a fold": ({"folds": []}, "it lists the folds none"),
    "another version of the task": ({"task_version": 99}, "task_version is 99 in the result"),
    "another metric": ({"metric": "rmse"}, "metric is rmse in the result"),
    "another dataset": ({"dataset": "echonet"}, "dataset is echonet in the result"),
    "other anchors": ({"anchor_low": 99.0}, "anchor_low is 99.0 in the result"),
    "a protocol of years": ({"protocol": "cv5x100000000"}, "No protocol is called"),
    "folds of years": ({"protocol": "cv999999999"}, "No protocol is called"),
}


@pytest.mark.parametrize("kind", CONTRADICTED)
def test_nothing_is_computed_for_a_record_that_cannot_be_true(
    kind: str, stored: Path, tmp_path: Path
) -> None:
    """The digest of the predictions is the honest one: it alone must not make a record true."""
    changes, words = CONTRADICTED[kind]
    with pytest.raises(EtabError, match=words):
        reproduce(edited(stored, tmp_path, **changes), root=tmp_path / "no data are needed")


FALSE_STATEMENTS = {
    "the setting size": {"size": 9999},
    "the setting family": {"family": "vit"},
    "the setting interpolation": {"interpolation": "bicubic"},
}


@pytest.mark.parametrize("what", [*FALSE_STATEMENTS, "masks"])
def test_equal_predictions_do_not_make_other_statements_true(
    what: str, stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    """A board shows the size and the family of a backbone, and lists digests of masks."""
    if what == "masks":
        changes: dict[str, Any] = {"masks": {"sha256": "0" * 64, "sample": []}}
    else:
        changes = _settings(stored, **FALSE_STATEMENTS[what])
    reproduction = reproduce(alone(stored, tmp_path, **changes), root=root, cache=cache)
    assert reproduction.identical
    assert reproduction.others == (what,)
    assert not reproduction.reproduced


def test_rows_that_differ_are_counted_among_all_rows(
    stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    header, *lines = stored.with_suffix(".csv").read_text().splitlines()
    table = "\n".join([header, *reversed(lines), ""])
    digest = hashlib.sha256(table.encode()).hexdigest()
    path = edited(stored, tmp_path, table=table, predictions_sha256=digest)
    reproduction = reproduce(path, root=root, cache=cache)
    assert reproduction.rows_differ == reproduction.n_rows == len(lines)


@pytest.mark.parametrize("name", ["value", "metrics", "folds"])
def test_equal_predictions_have_equal_numbers_on_another_machine(
    name: str, stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    record = json.loads(stored.read_text())
    changes = {
        "value": 0.1,
        "metrics": {**record["metrics"], record["metric"]: 0.1},
        "folds": [{**fold, "value": 0.1} for fold in record["folds"]],
    }
    changed = alone(stored, tmp_path, provenance=elsewhere(stored), **{name: changes[name]})
    reproduction = reproduce(changed, root=root, cache=cache)
    assert reproduction.identical
    assert reproduction.others == (name,)


def test_choices_of_folds_may_differ_on_another_machine(
    stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    changed = alone(stored, tmp_path, provenance=elsewhere(stored), **_choices_forgotten(stored))
    assert reproduce(changed, root=root, cache=cache).reproduced


def test_a_number_that_no_table_holds_is_refused(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"n_train is 1000.*; wanted a whole number from 0 to 92"):
        reproduce(alone(stored, tmp_path, n_train=10**400), root=tmp_path)


@pytest.mark.parametrize("name", ["head_version", "runs_version"])
def test_another_version_is_another_question(name: str, stored: Path, tmp_path: Path) -> None:
    changes = _settings(stored, **{name: 99})
    with pytest.raises(ResultError, match=f"{name} is 99 in the result"):
        reproduce(edited(stored, tmp_path, **changes), root=tmp_path)


@pytest.mark.parametrize("n_fold", ["abc", [1], None, True, 1e308, 1, 10**9])
def test_numbers_of_folds_that_are_none(n_fold: object, stored: Path, tmp_path: Path) -> None:
    changes = _settings(stored, n_fold=n_fold)
    with pytest.raises(ResultError, match="wanted a number from 2 to 50"):
        reproduce(edited(stored, tmp_path, **changes), root=tmp_path)


@pytest.mark.parametrize("table", ["", "kind,item\n", "\x00", "kind,item,patient,fold,score\n"])
def test_other_predictions_beside_the_record_are_refused(
    table: str, stored: Path, tmp_path: Path
) -> None:
    with pytest.raises(ResultError, match="not the table its record was made from"):
        reproduce(edited(stored, tmp_path, table=table), root=tmp_path)


def _choices_forgotten(stored: Path) -> dict[str, Any]:
    folds = json.loads(stored.read_text())["folds"]
    return {"folds": [{**fold, "choice": {}} for fold in folds]}


def _of_another_machine(stored: Path) -> dict[str, Any]:
    """An interval so wide that any value would be as good as the one computed here."""
    return {
        "value": 0.1,
        "low": -1e9,
        "high": 1e9,
        "provenance": elsewhere(stored),
        "predictions_sha256": "0" * 64,
    }


STATED = {
    "value": lambda stored: {"value": 0.1},
    "low": _of_another_machine,
    "folds": _choices_forgotten,
    "n_train": lambda stored: {"n_train": 999},
    "phantom": lambda stored: {"phantom": False},
    "missing": lambda stored: {"missing": [["patient0001", "no ES"]]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STATED)
def test_what_a_record_states_must_come_out_too(
    name: str, stored: Path, tmp_path: Path, root: Path, cache: Path
) -> None:
    changed = alone(stored, tmp_path, **STATED[name](stored))
    reproduction = reproduce(changed, root=root, cache=cache)
    assert name in reproduction.others
    assert reproduction.allowed < 100
    assert not reproduction.reproduced


def test_the_command_says_what_came_out(stored: Path, tmp_path: Path, root: Path) -> None:
    again = CliRunner().invoke(app, ["reproduce", str(stored), "--root", str(root)])
    assert again.exit_code == 0
    assert again.output.splitlines()[-1] == "  reproduced: every prediction is equal"
    forged = alone(stored, tmp_path, predictions_sha256="0" * 64)
    other = CliRunner().invoke(app, ["reproduce", str(forged), "--root", str(root)])
    assert other.exit_code == 1
    assert "NOT reproduced" in other.output


def test_the_command_shows_a_stated_number_beside_the_computed_one(stored: Path) -> None:
    computed = Result.load(stored)
    record = replace(computed, low=computed.low - 12.5)
    words = _in_words(Reproduction(record, computed, (), None, ("low", "metrics")))
    *_, last = words.splitlines()
    stated = f"low {record.low:.6g} (here {computed.low:.6g}), metrics"
    assert last == f"  NOT reproduced: the record states other values: {stated}"


SECRET = "password: hunter2, and more"
FILES = [
    "{file}",
    "{file}-10pct-d0",
    "{folder}",
    "../{name}",
    "~/{name}",
    "{name}",
    "{file}@0123456789ab",
]


@pytest.mark.parametrize("named", FILES)
def test_a_file_that_a_record_names_as_a_list_is_not_opened(
    named: str, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages about a damaged list quote its first line, which could be anybody's secret."""
    secret = tmp_path / "secret.csv"
    secret.write_text(f"{SECRET}\n")
    monkeypatch.chdir(tmp_path)
    name = named.format(file=secret, folder=tmp_path, name=secret.name)
    with pytest.raises(ResultError, match="no file") as caught:
        reproduce(alone(stored, tmp_path, protocol=f"lists:{name}"), root=tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_result_by_a_list_is_computed_again_from_the_named_file(
    root: Path, tmp_path: Path
) -> None:
    names = sorted({p.name for p in root.rglob("patient*") if p.is_dir()})
    folds = tmp_path / "folds.csv"
    rows = [f"{name},{'test' if i % 3 == 0 else 'train'}" for i, name in enumerate(names)]
    folds.write_text("\n".join(["id,part", *rows]) + "\n")
    results = tmp_path / "results"
    etab.evaluate(
        "image_stats", tasks="b0-A4-C", root=root, results=results, protocol=f"lists:{folds}"
    )
    (path,) = results.rglob("*.json")
    _read.clear()
    with pytest.raises(ResultError, match="Name their file by --lists"):
        reproduce(path, root=root)
    assert reproduce(path, root=root, lists=folds).reproduced
    other = tmp_path / "other.csv"
    other.write_text(folds.read_text().replace("test", "x", 1).replace("x", "train", 1))
    with pytest.raises(ResultError, match="is the list other@"):
        reproduce(path, root=root, lists=other)


def test_a_list_for_a_result_that_follows_none_is_refused(stored: Path, root: Path) -> None:
    with pytest.raises(ResultError, match="leave --lists out"):
        reproduce(stored, root=root, lists=root)


@pytest.mark.parametrize("random", ["", "random/"])
@pytest.mark.parametrize(
    "named",
    [
        "local:{file}@timm/resnet18",
        "local:{file}@timm/resnet18@mean=0.5@std=0.25@448",
        "onnx:{file}",
        "vectors:{file}",
        "vectors:{name}",
        "transformers/{folder}",
        "transformers/{here}@16000",
        "transformers//no/such/folder",
    ],
)
def test_a_file_that_a_record_names_as_its_backbone_is_not_opened(
    random: str, named: str, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even looked for: whether a file exists is nothing to tell a stranger's record."""
    file = tmp_path / "mine.npz"
    file.write_text(SECRET)
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    name = named.format(file=file, name=file.name, folder=tmp_path, here="model")
    with pytest.raises(ResultError, match="name it by --backbone"):
        reproduce(alone(stored, tmp_path, backbone=random + name), root=tmp_path)


def test_a_result_of_a_file_is_computed_again_from_the_named_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    keys = [key for key, _ in keys_of("b0-A4-C", root)]
    for name in ("mine", "other"):
        vectors = rng.normal(size=(len(keys), 4)).astype(np.float32)
        np.savez(f"{name}.npz", keys=np.array(keys), vector=vectors)
    etab.evaluate("vectors:mine.npz", tasks="b0-A4-C", root=root, results=tmp_path / "results")
    (path,) = (tmp_path / "results").rglob("*.json")
    with pytest.raises(ResultError, match="name it by --backbone"):
        reproduce(path, root=root)
    moved = Path("mine.npz").rename("elsewhere.npz")
    assert reproduce(path, root=root, backbone=f"vectors:{moved}").reproduced
    with pytest.raises(ResultError, match="weights here are not those"):
        reproduce(path, root=root, backbone="vectors:other.npz")


@pytest.mark.parametrize("field", ["task", "backbone", "head", "protocol", "dataset"])
def test_names_that_could_write_a_line_of_their_own_are_refused(
    field: str, stored: Path, tmp_path: Path
) -> None:
    path = alone(stored, tmp_path, **{field: "x\n  reproduced: every prediction is equal"})
    with pytest.raises(ResultError, match=f"The {field} in the record is 'x\\\\n") as caught:
        reproduce(path, root=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["cv50x999", "cv5x101", "cv999"])
def test_endless_work_is_refused(protocol: str, stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="at most 500 are computed again"):
        reproduce(alone(stored, tmp_path, protocol=protocol), root=tmp_path)
