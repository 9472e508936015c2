"""Unity Imaging: views and points of stills, and damage that is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etab.datasets.unity import POINTS, UnitySource
from etab.errors import (
    CorruptFileError,
    LayoutError,
    SplitError,
)
from etab.phantom.sector import DEPTH
from etab.phantom.unity import FRAME_SIZE
from tests.trees.measured import (
    check_damage,
    cut_end,
    edit,
    read_cells,
)


def _png(root: Path) -> Path:
    return root / UnitySource(root).records()[0].files["still"]


def _coordinate(root: Path) -> None:
    path = root / "labels" / "labels-train.json"
    path.write_text(re.sub(r'"x": "\d+\.\d"', '"x": "left"', path.read_text()))


def _one_frame_moved(root: Path) -> None:
    train, tune = (root / "labels" / f"labels-{word}.json" for word in ("train", "tune"))
    labels, others = json.loads(train.read_text()), json.loads(tune.read_text())
    name = next(n for n in labels if n.endswith("-0012.png") and "A2C" not in n)
    kept = [n for n in labels if n != name]
    plax = next(n for n in reversed(kept) if re.search(r"-0012\.png$", n))
    others[plax] = labels.pop(plax)
    train.write_text(json.dumps(labels))
    tune.write_text(json.dumps(others))


def test_unity_facts(trees: dict[str, Path]) -> None:
    found = UnitySource(trees["unity"])
    words = {"A2CH-LV": "A2C", "A3CH-FULL": "A3C", "A4CH_LV": "A4C", "PLAX-FULL": "PLAX"}
    views = {
        row["file"]: words.get(row["view"])
        for row in read_cells(trees["unity"] / "view_index_20220705.csv")
    }
    listed = {
        name: (part, entry["labels"])
        for word, part in (("train", "train"), ("tune", "val"), ("ival", "test"))
        for name, entry in json.loads(
            (trees["unity"] / "labels" / f"labels-{word}.json").read_text()
        ).items()
    }
    assert len(found.records()) == len(listed) - 3, (
        "one malformed name, two pictures of another view"
    )
    for record in found.records():
        part, labels = listed[f"{record.id}.png"]
        assert record.split == part
        assert record.view == views[f"{record.id}.png"]
        assert found.frames(record).shape == (1, FRAME_SIZE, FRAME_SIZE)
        assert np.array_equal(
            found.frames(record)[0], np.asarray(Image.open(found.root / record.files["still"]))
        )
        for answer in found.answers(record, found.card.target("keypoints")):
            for key, (x, y) in zip(POINTS, answer.value, strict=True):
                label = labels.get(key, {"type": "off"})
                label = label[0] if isinstance(label, list) else label
                outside = label["type"] == "point" and float(label["x"]) >= FRAME_SIZE
                if label["type"] == "point" and not outside:
                    assert (x, y) == (float(label["x"]), float(label["y"]))
                else:
                    assert np.isnan([x, y]).all()


def test_unity_quirks(trees: dict[str, Path]) -> None:
    found = UnitySource(trees["unity"])
    keypoints = found.card.target("keypoints")
    assert sum(not found.answers(r, keypoints) for r in found.records()) == 4, (
        "pictures that nobody labelled"
    )
    assert {found.spacing(r) is None for r in found.records()} == {True, False}
    assert {found.spacing(r) for r in found.records()} - {None} == {
        (DEPTH / FRAME_SIZE, DEPTH / FRAME_SIZE)
    }
    said = " ".join(found.remarks())
    assert "SUBCOSTAL-HEART" in said
    assert "_(1).png" in said


def test_unity_release_without_a_test_part(copy: dict[str, Path]) -> None:
    (copy["unity"] / "labels" / "labels-ival.json").unlink()
    (copy["unity"] / "01_database_physical.csv").unlink()
    found = UnitySource(copy["unity"] / "labels")
    assert {r.split for r in found.records()} == {"train", "val"}
    assert found.spacing(found.records()[0]) is None


DAMAGE: dict[str, tuple[type[Exception], str, Callable[[Path], object]]] = {
    "no labels": (
        LayoutError,
        "labels-train.json",
        lambda r: (r / "labels" / "labels-train.json").unlink(),
    ),
    "no views": (
        LayoutError,
        "view_index",
        lambda r: (r / "view_index_20220705.csv").unlink(),
    ),
    "a column": (
        CorruptFileError,
        "no column 'view'",
        lambda r: edit(r / "view_index_20220705.csv", "file,view", "file,class"),
    ),
    "no picture": (LayoutError, "is missing, which the labels name", lambda r: _png(r).unlink()),
    "a cut picture": (
        CorruptFileError,
        "is not a whole PNG",
        lambda r: cut_end(_png(r)),
    ),
    "no JSON": (
        CorruptFileError,
        "is not JSON",
        lambda r: cut_end(r / "labels" / "labels-tune.json"),
    ),
    "another form": (
        CorruptFileError,
        "is not of the form",
        lambda r: (r / "labels" / "labels-tune.json").write_text('{"a.png": {"points": []}}'),
    ),
    "a coordinate": (
        CorruptFileError,
        "is a point at 'left'",
        lambda r: _coordinate(r),
    ),
    "two parts": (
        SplitError,
        "labelled in two parts",
        lambda r: shutil.copy(
            r / "labels" / "labels-train.json", r / "labels" / "labels-tune.json"
        ),
    ),
    "one file in two parts": (
        SplitError,
        "lies in two parts",
        lambda r: _one_frame_moved(r),
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named(copy: dict[str, Path], what: str) -> None:
    error, message, damage = DAMAGE[what]
    damage(copy["unity"])
    check_damage("unity", copy["unity"], error, message)
