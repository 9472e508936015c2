"""TMED-2 and TMED-1: the contract, the tables and their quirks, damaged trees."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.datasets import Tmed1Source, TmedSource
from etab.datasets.dataset import Dataset
from etab.datasets.integrity.check import check
from etab.echo.views import canonical
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    LayoutError,
    SplitError,
    UnsupportedOptionError,
)
from etab.testing.datasets import check_dataset
from tests.trees import tmed

LAYOUTS: dict[str, type[TmedSource]] = {
    "folders": TmedSource,
    "beside": TmedSource,
    "no labels": TmedSource,
    "first": Tmed1Source,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_contract(tmed_trees: dict[str, Path], layout: str, tmp_path: Path) -> None:
    check_dataset(LAYOUTS[layout], tmed_trees[layout], scratch=tmp_path)


@pytest.mark.slow
def test_contract_on_the_phantom(tmed_phantom: Path) -> None:
    check_dataset(TmedSource, tmed_phantom)


# --- what is read ---


def test_records_follow_the_fold_file(tmed_trees: dict[str, Path]) -> None:
    source = TmedSource(tmed_trees["folders"])
    rows = {r.id: r for r in source.records()}
    assert list(rows) == [key.removesuffix(".png") for key, *_ in tmed.images()]
    second = rows["13s2_0"]
    assert (second.patient, second.view, second.split, second.fps) == ("13", "PLAX", "train", None)
    assert second.meta == {"study": "13s2", "diagnosis": "mildtomod_AS"}
    assert second.files == {"still": f"{tmed.FULL}/13s2_0.png"}
    assert {r.view for r in rows.values()} == {"PLAX", "PSAX", "A2C", "A4C", "other"}
    assert {s: sum(r.split == s for r in rows.values()) for s in ("train", "val", "test")} == {
        "train": 20,
        "val": 10,
        "test": 15,
    }
    assert source.still(second)
    assert source.n_frames(second) == 1
    assert np.array_equal(source.frames(second), tmed.picture("13s2_0.png")[None])
    assert source.phases(second) is None
    assert not source.phantom


def test_answers(tmed_trees: dict[str, Path]) -> None:
    source = TmedSource(tmed_trees["folders"])
    targets = {t.name: t for t in source.card.targets}

    def said(record: str) -> dict[str, list[int]]:
        found = next(r for r in source.records() if r.id == record)
        return {name: [a.value for a in source.answers(found, t)] for name, t in targets.items()}

    assert said("11s1_0") == {"view": [0], "PLAX/PSAX": [0], "AS": [0], "any_AS": [0]}
    assert said("12s1_1") == {"view": [1], "PLAX/PSAX": [1], "AS": [1], "any_AS": [1]}
    assert said("13s2_2") == {"view": [2], "PLAX/PSAX": [], "AS": [1], "any_AS": [1]}
    assert said("13s1_3") == {"view": [3], "PLAX/PSAX": [], "AS": [2], "any_AS": [1]}
    assert said("33s1_4") == {"view": [4], "PLAX/PSAX": [], "AS": [2], "any_AS": [1]}
    assert targets["AS"].classes == ("no AS", "early AS", "significant AS")
    assert targets["view"].classes == source.card.views


def test_folds_parts_and_where_they_lie(tmed_trees: dict[str, Path]) -> None:
    def splits(source: TmedSource) -> dict[str, str]:
        return {r.patient: r.split for r in source.records()}

    first, second = (
        splits(TmedSource(tmed_trees["folders"])),
        splits(TmedSource(tmed_trees["folders"], fold=1)),
    )
    assert second == {patient: tmed.OTHER_FOLD[part] for patient, part in first.items()}
    assert (
        splits(TmedSource(tmed_trees["beside"]))
        == splits(TmedSource(tmed_trees["no labels"]))
        == first
    )
    small = TmedSource(tmed_trees["folders"] / "DEV56")
    assert small.root == tmed_trees["folders"]
    assert splits(small) == splits(TmedSource(tmed_trees["folders"], part="DEV56"))
    assert set(first) - set(splits(small)) == {"12"}, (
        "what the smaller set leaves unlabelled is not a record"
    )
    assert TmedSource(tmed_trees["folders"]).digest() != small.digest()
    assert not small.published()


def test_the_data_folder_is_found_above(tmed_trees: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(tmed_trees["folders"], tmp_path / "approved_users_only")
    assert TmedSource(tmp_path).root == tmp_path / "approved_users_only"


def test_images_with_a_view_alone_are_asked_for(tmed_trees: dict[str, Path]) -> None:
    source = TmedSource(tmed_trees["folders"], diagnosed=False)
    more = {r.id: r for r in source.records()}
    assert len(more) == len(tmed.images()) + 2
    assert (more["90s1_0"].split, more["91s1_0"].split) == ("train", "")
    assert source.answers(more["90s1_0"], source.card.target("AS")) == ()
    assert source.frames(more["91s1_0"]).shape == (1, 40, 40)


def test_labels_alone_give_no_split(tmed_tree: Path) -> None:
    for name in ("DEV479", "DEV56"):
        shutil.rmtree(tmed_tree / name)
    source = TmedSource(tmed_tree)
    assert len(source.records()) == len(tmed.images())
    assert {r.split for r in source.records()} == {""}


def test_tmed1(tmed_trees: dict[str, Path]) -> None:
    source = Tmed1Source(tmed_trees["first"])
    rows = {r.id: r for r in source.records()}
    assert len(rows) == 18
    assert (rows["12_1"].patient, rows["12_1"].view, rows["12_1"].split) == ("12", "PSAX", "train")
    found = {r.id: source.answers(r, source.card.target("AS"))[0].value for r in source.records()}
    assert [found[k] for k in ("11_0", "12_0", "13_0")] == [0, 1, 2]
    assert source.card.target("AS").classes == ("no AS", "mild or moderate AS", "severe AS")
    assert source.frames(rows["31_2"]).shape == (1, 64, 64)
    with pytest.raises(
        LayoutError, match=r"TMED-18-18_fold0\.csv is missing; there are fold files of TMED-156-52"
    ):
        Tmed1Source(tmed_trees["first"], part="TMED-18-18")


def test_cards_and_views() -> None:
    counts = TmedSource.card.counts
    assert counts["train"] + counts["val"] + counts["test"] == counts["patients"]
    assert sum(counts[view] for view in TmedSource.card.views) == counts["recordings"]
    assert (
        sum(n for name, n in counts.items() if name.startswith("studies with")) == counts["studies"]
    )
    assert [canonical(v) for v in ("A4CorA2CorOther", "other", "Other", "PSAX AoV")] == [
        "other"
    ] * 3 + ["PSAX"]


# --- Dataset ---


@pytest.mark.parametrize("target", ["view", "PLAX/PSAX", "AS", "any_AS"])
def test_dataset(tmed_trees: dict[str, Path], target: str) -> None:
    ds = Dataset(
        "tmed",
        target,
        root=tmed_trees["folders"],
        frame_l=24,
        frame_w=30,
        normalize=False,
        split="val",
    )
    x, y = ds[0]
    assert tuple(x.shape) == (3, 24, 30)
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    assert isinstance(y, int)
    assert set(ds.patients) == {"21", "22"}
    assert len(ds) == (4 if target == "PLAX/PSAX" else 10)


def test_dataset_options(tmed_trees: dict[str, Path]) -> None:
    root = tmed_trees["folders"]
    assert {
        i.rsplit("_", 1)[1] for i in Dataset("tmed", "AS", view="PSAX", root=root).data.ids
    } == {"1"}
    with pytest.raises(UnsupportedOptionError, match="stills without a sequence"):
        Dataset("tmed", "AS", video=True, root=root)
    with pytest.raises(UnsupportedOptionError, match="use view=None"):
        Dataset("tmed", "view", view="PLAX", root=root)
    with pytest.raises(UnsupportedOptionError, match="tmed has no view 'A3'"):
        Dataset("tmed", "AS", view="A3", root=root)
    with pytest.raises(SplitError, match="no recording with an answer"):
        Dataset("tmed", "PLAX/PSAX", view="A4C", root=root)


# --- what is wrong with a tree ---


def _edit(path: Path, change: Callable[[list[dict[str, str]]], Any]) -> None:
    """Change the rows of a table in place."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


FOLD = "DEV479/TMED2_fold0_labeledpart.csv"


def _set(k: int, **values: str) -> Callable[[list[dict[str, str]]], Any]:
    return lambda rows: rows[k].update(values)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            _set(0, view_label="PLAXX"),
            CorruptFileError,
            "11s1_0.png has view_label 'PLAXX'; wanted one of PLAX, PSAX",
        ),
        (
            _set(0, diagnosis_label="AS"),
            CorruptFileError,
            "11s1_0.png has diagnosis_label 'AS'; wanted one of no_AS",
        ),
        (
            _set(0, diagnosis_label="mild_AS"),
            CorruptFileError,
            "says diagnosis_label 'mild_AS' of 11s1_0.png",
        ),
        (
            _set(0, query_key="../../etc/11s1_0.png"),
            CorruptFileError,
            "which is not an image name of TMED-2",
        ),
        (_set(0, query_key="11_0.png"), CorruptFileError, "which is not an image name of TMED-2"),
        (_set(0, SourceFolder="../elsewhere"), CorruptFileError, "leaves the data folder"),
        (_set(0, SourceFolder="/tmp"), CorruptFileError, "leaves the data folder"),
        (
            _set(0, query_key="11s1_1.png", view_label="PSAX"),
            CorruptFileError,
            "lists 11s1_1.png twice",
        ),
        (
            _set(0, view_classifier_split="test"),
            SplitError,
            "11s1_0.png in two parts, test and train",
        ),
        (
            _set(0, view_classifier_split="test", diagnosis_classifier_split="test"),
            SplitError,
            "Patient 11 lies in two",
        ),
        (
            _set(0, query_key="11s1_50.png"),
            LayoutError,
            "11s1_50.png is missing, which the tables list",
        ),
    ],
)
def test_bad_rows(tmed_tree: Path, change: Any, error: type[Exception], message: str) -> None:
    _edit(tmed_tree / FOLD, change)
    with pytest.raises(error, match=message.replace("(", r"\(")):
        TmedSource(tmed_tree).records()


def test_bad_tables(tmed_tree: Path, tmp_path: Path) -> None:
    text = (tmed_tree / FOLD).read_text()
    for wrong, message in (
        (text.replace("query_key", "key"), "has no column 'query_key'; it has 'key, view_label"),
        (
            text.replace("diagnosis_classifier_split", "split"),
            "has no column 'diagnosis_classifier_split'",
        ),
        (text + "1s1_0.png,PLAX\n", "the row is not as long as the header"),
        ("", "is empty: it has no line of column names"),
        ("\0\1\2", "TMED2_fold0_labeledpart.csv"),
    ):
        (tmed_tree / FOLD).write_text(wrong)
        with pytest.raises(CorruptFileError, match=message):
            TmedSource(tmed_tree).records()
    (tmed_tree / FOLD).write_bytes(b"\xfe\x00query_key")
    with pytest.raises(CorruptFileError, match="is not a table"):
        TmedSource(tmed_tree).records()
    (tmed_tree / FOLD).write_text(text.splitlines()[0] + "\n")
    with pytest.raises(LayoutError, match="lists no image with a view and a diagnosis"):
        TmedSource(tmed_tree).records()
    (tmed_tree / FOLD).unlink()
    with pytest.raises(
        LayoutError,
        match=r"DEV479/TMED2_fold0_labeledpart.csv is missing; there are fold files of DEV479",
    ):
        TmedSource(tmed_tree)
    for path in tmed_tree.rglob("*.csv"):
        path.unlink()
    with pytest.raises(
        LayoutError, match=r"labels_per_image\.csv is missing, and every fold file too"
    ):
        TmedSource(tmed_tree)
    with pytest.raises(DataNotFoundError, match="nowhere is not a folder"):
        TmedSource(tmp_path / "nowhere")


def test_labels_listed_twice(tmed_tree: Path) -> None:
    _edit(tmed_tree / "labels_per_image.csv", lambda rows: rows.append(dict(rows[0])))
    with pytest.raises(CorruptFileError, match=r"labels_per_image\.csv lists 11s1_0\.png twice"):
        TmedSource(tmed_tree).records()


def test_a_missing_image_is_named(tmed_tree: Path) -> None:
    (tmed_tree / tmed.FULL / "22s1_3.png").unlink()
    with pytest.raises(LayoutError, match=r"22s1_3\.png is missing, which"):
        TmedSource(tmed_tree).records()
    assert check("tmed", tmed_tree).missing


# --- check ---


def test_check_counts_what_a_person_asks(tmed_trees: dict[str, Path]) -> None:
    report = check("tmed", tmed_trees["folders"])
    found = report.found
    assert (found["patients"], found["studies"], found["recordings"], found["frames"]) == (
        8,
        9,
        45,
        45,
    )
    assert (found["PLAX"], found["other"], found["studies with early AS"]) == (9, 9, 3)
    assert found[f"unlisted files in {tmed.FULL}"] == 1
    assert "8 patients; published: 576" in report.differs
    assert "9 studies; published: 598" in report.differs
    assert not report.ok
    assert "published: 4808" in report.render()


@pytest.mark.real
def test_counts_of_the_real_data() -> None:
    """The published counts; ETAB_TMED_REAL names the folder of TMED-2."""
    root = os.environ.get("ETAB_TMED_REAL")
    if not root:
        pytest.skip("no real TMED-2: ETAB_TMED_REAL names no folder")
    report = check("tmed", root)
    assert not report.phantom
    assert report.ok, report.render()
    for fold in (1, 2):
        records = TmedSource(Path(root), fold=fold).records()
        assert len(records) == 17_270
        studies = [
            len({r.meta["study"] for r in records if r.split == part})
            for part in ("train", "val", "test")
        ]
        assert studies == ([360, 119, 119] if fold == 1 else [360, 118, 120])
