"""Result folders as a stranger might hand them in: honest ones, and ways to forge them.

The honest results are the published ones. A forger is thorough: after changing a table they make
the record follow from it, so that only the forged fact itself can give them away.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import UndefinedError
from etab.metrics import basic as metrics
from etab.metrics.columns import ScoredRows
from etab.metrics.intervals import interval_of
from etab.results import Predictions, Result
from etab.results.masks import mask_digest, mask_facts, masks_path, packed_masks
from etab.storage.atomic import slug
from etab.tasks.menu import TASKS
from etab.types import Kind

PUBLISHED = Path(__file__).parents[3] / "benchmarks"
HONEST = ("efficientnet_lite0", "mobilenetv2", "image_stats")
STRANGER = "stranger/model"
CAMUS_TASKS = ("a0-A4-C", "b0-A4-C", "c0-AX-C", "d0-A4-C")
SOUND_TASKS = ("f1-AL-D", "f2-AL-D")
SHA = "5" * 64

Columns = dict[str, Any]


def camus_folder(folder: Path) -> None:
    """Published results of three backbones, and those of a fourth under a stranger's name."""
    for name in HONEST:
        for code in CAMUS_TASKS:
            _copy(PUBLISHED / "results" / "camus", folder / "camus", code, name)
    for code in CAMUS_TASKS:
        _rename(PUBLISHED / "results", folder, code, "vits14_saliency")


def sounds_folder(folder: Path) -> None:
    """Published results on heart sounds of two backbones, and of a stranger's."""
    for code in SOUND_TASKS:
        for name in ("mel_stats", "image_stats"):
            _copy(PUBLISHED / "results_sounds_full" / "circor", folder / "circor", code, name)
        _rename(PUBLISHED / "results_sounds_full", folder, code, "envelopes")


def _copy(source: Path, target: Path, code: str, name: str) -> None:
    to = target / slug(code) / slug(name)
    to.mkdir(parents=True)
    for path in (source / slug(code) / slug(name)).glob("cv5-*"):
        shutil.copy(path, to)


def _rename(source: Path, folder: Path, code: str, name: str) -> None:
    """Save a published result under the stranger's name, slightly changed so that it is no copy."""
    dataset = TASKS[code].dataset
    (path,) = (source / dataset / slug(code) / slug(name)).glob("cv5-*.json")
    result = Result.load(path)
    rng = np.random.default_rng(list(code.encode()))
    table = result.predictions(source)
    columns = {k: np.array(v) for k, v in table.columns.items()}
    _blur(columns, rng)
    changed = {"backbone": STRANGER, "weights_sha256": SHA, "features_key": "6" * 64}
    changed["settings"] = {**result.settings, "family": "vit"}
    save(folder, result, with_columns(table, columns), **changed)


def _blur(columns: Columns, rng: np.random.Generator) -> None:
    """Make predictions those of another network: noise that changes no decision."""
    if "dice" in columns:
        dice = np.clip(columns["dice"] + 0.01 * rng.standard_normal(len(columns["dice"])), 0, 1)
        columns["dice"] = dice
        columns["jaccard"] = dice / (2 - dice)
    elif "answer" in columns:
        return
    elif "score" in columns and columns["score"].max() > 1:
        columns["score"] = columns["score"] + rng.standard_normal(len(columns["score"]))
    elif "score" in columns:
        noise = 0.3 * rng.standard_normal(len(columns["score"]))
        columns["score"] = _shifted(columns["score"], noise)
    else:
        noise = 0.3 * rng.standard_normal(len(columns["score_1"]))
        columns["score_1"] = _shifted(columns["score_1"], noise)
        columns["score_0"] = 1 - columns["score_1"]


def _shifted(probability: Any, noise: Any) -> Any:
    inside = np.clip(probability, 1e-9, 1 - 1e-9)
    logit = np.log(inside) - np.log1p(-inside) + noise
    return 1 / (1 + np.exp(-logit))


def with_columns(table: Predictions, columns: Mapping[str, Any], **changes: Any) -> Predictions:
    facts = {
        "kind": table.kind,
        "items": table.items,
        "patients": table.patients,
        "folds": table.folds,
        "columns": columns,
    }
    return Predictions(**{**facts, **changes})


def save(folder: Path, result: Result, table: Predictions, **changes: Any) -> Path:
    """Write a record that follows from its table, with the named fields changed afterwards."""
    record = {**json.loads(json.dumps(result._whole())), **following(result, table), **changes}
    if "masks" not in changes:
        record.pop("masks", None)  # digests of the masks that the original table was made from
    name = record["backbone"]
    parent = folder / slug(record["dataset"]) / slug(record["task"]) / slug(name)
    parent.mkdir(parents=True, exist_ok=True)
    stem = f"{slug(record['protocol'])}-{slug(record['head'])}-s{record['seed']}"
    (parent / f"{stem}.csv").write_text(table.to_csv())
    (parent / f"{stem}.json").write_text(json.dumps(record, indent=1))
    return parent / f"{stem}.json"


def following(result: Result, table: Predictions) -> dict[str, Any]:
    """Everything in a record that follows from its table."""
    scored = ScoredRows.of(table)
    values = metrics.evaluate_rows(scored)
    low, high = _interval(result, table, values[result.metric])
    names = np.array(table.folds)
    choices = {fold["name"]: fold["choice"] for fold in result.folds}
    folds = []
    for name in dict.fromkeys(table.folds):
        part = scored.select(np.flatnonzero(names == name))
        fold_value = metrics.evaluate_rows(part).get(result.metric)
        folds.append(
            {
                "name": name,
                "value": fold_value,
                "n_test": len(part),
                "choice": choices.get(name, {}),
            }
        )
    return {
        "value": values[result.metric],
        "low": low,
        "high": high,
        "metrics": values,
        "folds": folds,
        "n_test": len(table.items),
        "n_patients": len(set(table.patients)),
        "predictions_sha256": hashlib.sha256(table.to_csv().encode()).hexdigest(),
        "nested": None,
    }


def _interval(result: Result, table: Predictions, value: float) -> tuple[float, float]:
    try:
        interval = interval_of(result.task, result.metric, result.seed, table)
    except UndefinedError:  # a single patient
        return value, value
    return interval.low, interval.high


def add_masks(folder: Path) -> None:
    """Write a mask for every row of every cell of masks: squares, since the board has no truth."""
    for path in sorted(folder.rglob("*.json")):
        result = Result.load(path)
        if TASKS[result.task].kind is not Kind.MASK:
            continue
        table = result.predictions(folder)
        masks = [_square(dice) for dice in table.columns["dice"]]
        facts = mask_facts(table.items, table.repeats, [mask_digest(mask) for mask in masks])
        masks_path(path, "all").write_bytes(packed_masks(masks))
        edit(path, masks=facts)


def _square(dice: float) -> Any:
    mask = np.zeros((24, 30), dtype=bool)
    side = 4 + int(dice * 10)
    mask[3 : 3 + side, 5 : 5 + side] = True
    return mask


def stranger(folder: Path, code: str = "b0-A4-C") -> Path:
    """The record of the stranger's result of a task."""
    (path,) = (folder / TASKS[code].dataset / slug(code) / slug(STRANGER)).glob("*.json")
    return path


def load(folder: Path, code: str, backbone: str = STRANGER) -> tuple[Result, Predictions]:
    (path,) = (folder / TASKS[code].dataset / slug(code) / slug(backbone)).glob("*.json")
    result = Result.load(path)
    return result, result.predictions(folder)


def forge(folder: Path, code: str, change: Callable[[Columns], None]) -> None:
    """Change the columns of the stranger's table, and make the record follow."""
    result, table = load(folder, code)
    columns = {name: np.array(column) for name, column in table.columns.items()}
    change(columns)
    save(folder, result, with_columns(table, columns))


def forge_at(path: Path, folder: Path, change: Callable[[Columns], None]) -> None:
    """Change the columns of any result with repeated folds, and its digest; nothing else follows."""
    table = Result.load(path).predictions(folder)
    columns = {name: np.array(column) for name, column in table.columns.items()}
    change(columns)
    text = with_columns(table, columns, repeats=table.repeats).to_csv()
    path.with_suffix(".csv").write_text(text)
    edit(path, predictions_sha256=hashlib.sha256(text.encode()).hexdigest())


def rows(folder: Path, code: str, keep: Any = None, **changes: Any) -> None:
    """Keep some rows of the stranger's table, or give it other items, patients or folds."""
    result, table = load(folder, code)
    index = np.arange(len(table.items)) if keep is None else keep(table)
    facts = {
        name: tuple(getattr(table, name)[i] for i in index)
        for name in ("items", "patients", "folds")
    }
    for name, change in changes.items():
        facts[name] = tuple(change(facts))
    columns = {name: column[index] for name, column in table.columns.items()}
    save(folder, result, Predictions(table.kind, columns=columns, **facts))


def edit(path: Path, **changes: Any) -> None:
    record = json.loads(path.read_text())
    record.update(changes)
    path.write_text(json.dumps(record))


def edit_nested(path: Path, field: str, **changes: Any) -> None:
    record = json.loads(path.read_text())
    record[field].update(changes)
    path.write_text(json.dumps(record))


def edit_all(folder: Path, **changes: Any) -> None:
    for path in sorted(folder.rglob("*.json")):
        if slug(STRANGER) in path.parts:
            edit(path, **changes)


def renamed(folder: Path, name: str, code: str = "b0-A4-C") -> None:
    """Move the stranger's result to another name."""
    path = stranger(folder, code)
    record = json.loads(path.read_text())
    record["backbone"] = name
    to = folder / record["dataset"] / slug(code) / slug(name)
    to.mkdir(parents=True, exist_ok=True)
    (to / path.name).write_text(json.dumps(record))
    shutil.move(path.with_suffix(".csv"), to / path.with_suffix(".csv").name)
    path.unlink()
    path.parent.rmdir()
