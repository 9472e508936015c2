"""Canonical splits: files that say so when they are edited, local data that must agree, folds that stay what they were."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from etab import datasets
from etab.datasets.base import Source
from etab.datasets.camus import CamusSource
from etab.datasets.circor import CircorSource
from etab.datasets.dataset import Dataset
from etab.datasets.integrity import canonical, canonical_write
from etab.errors import CorruptFileError, EtabWarning, SplitError, UnsupportedOptionError
from etab.runs.data import lacking
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.splits import folds
from etab.storage.resources import text
from tests.trees import camus

CANONICAL = True
SPLITS = Path(__file__).resolve().parents[2] / "configs" / "splits"
PARTS = {
    "patient0001": "training",
    "patient0002": "training",
    "patient0027": "testing",
    "patient0200": "validation",
}


def write(root: Path, parts: Mapping[str, str] = PARTS) -> Path:
    """A tiny unmarked CAMUS of patients that really exist, in the parts given."""
    camus.write(root, n=len(parts), cfg_4ch=False)
    base = root / "database_nifti"
    for made, name in reversed(list(zip(camus.patients(len(parts)), parts, strict=True))):
        if made != name:
            for path in (base / made).iterdir():
                path.rename(path.with_name(path.name.replace(made, name)))
            (base / made).rename(base / name)
    for part in ("training", "validation", "testing"):
        listed = [name for name, home in parts.items() if home == part]
        (root / "database_split" / f"subgroup_{part}.txt").write_text("\n".join(listed) + "\n")
    return root


@pytest.fixture(autouse=True)
def _fresh() -> None:
    canonical.load.cache_clear()
    canonical.check_folds.cache_clear()


# --- the files ---


def test_every_file_is_named_and_every_name_has_its_file() -> None:
    assert sorted(path.stem for path in SPLITS.glob("*.toml")) == sorted(canonical.SPLIT_NAMES)


@pytest.mark.parametrize("name", canonical.SPLIT_NAMES)
def test_a_file_is_what_its_digest_says(name: str) -> None:
    split = canonical.load(name)
    assert split.name == name
    assert f'sha256 = "{split.sha256()}"' in text(f"configs/splits/{name}.toml")
    assert canonical_write.toml(split) == (SPLITS / f"{name}.toml").read_text(), (
        "written anew, it is another file"
    )


def test_counts_are_the_published_ones() -> None:
    splits = {name: canonical.load(name) for name in canonical.SPLIT_NAMES}
    assert (
        Counter(splits["camus"].places.values())
        == {"train": 400, "val": 50, "test": 50}
        == splits["camus"].counts
    )
    assert splits["echonet"].counts == {"train": 7465, "val": 1288, "test": 1277}
    assert splits["tmed"].counts == {"train": 338, "val": 119, "test": 119}
    assert (len(splits["circor"].places), len(set(splits["circor"].places.values()))) == (942, 872)
    assert Counter(splits["cinc2016"].places.values()) == {
        "a": 409,
        "b": 490,
        "c": 31,
        "d": 55,
        "e": 2141,
        "f": 114,
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"patient0200", ', ""),
        ('"patient0001", ', '"patient0001", "patient0200", '),
        ('"patient0001", ', '"patient0001", "patient0001", '),
        ("version = 1", "version = 2"),
        ('folds = "0', 'folds = "1'),
        ('"test" = 50', '"test" = 51'),
        ('"patient0001"', '"patient9001"'),
        ("[places]", "[somewhere]"),
        ("[places]", "[places"),
        ('sha256 = "', 'sha256 = "0'),
    ],
)
def test_an_edited_file_is_refused(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    whole = text("configs/splits/camus.toml")
    assert old in whole
    monkeypatch.setattr(canonical, "text", lambda name: whole.replace(old, new, 1))
    with pytest.raises(CorruptFileError, match=r"configs/splits/camus\.toml"):
        canonical.load("camus")


# --- folds ---


@pytest.mark.parametrize(("name", "n"), [("camus", 500), ("circor", 872)])
def test_folds_of_the_real_board_are_those_on_record(name: str, n: int) -> None:
    split = canonical.load(name)
    assert len(canonical.people(split)) == n
    assert canonical.fold_digest(canonical.people(split)) == split.folds
    canonical.check_folds(name)
    assert canonical.fold_digest(canonical.people(split)[:-1]) != split.folds


def test_folds_that_changed_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(canonical, "folds", lambda people, n, seed: folds(people, n, seed + 1))
    with pytest.raises(SplitError, match="5 folds of camus come out otherwise"):
        datasets.source("camus", write(tmp_path))


# --- local data ---


def test_real_patients_in_their_parts_open_and_the_absent_are_told(tmp_path: Path) -> None:
    source = datasets.source("camus", write(tmp_path))
    found = canonical.compare_split(source)
    assert found is not None
    assert found.agrees
    assert (found.lacking, found.total) == (496, 500)
    assert "patient0003" in found.missing
    assert datasets.missing_note(source).startswith("496 of 500 published patients are not in")
    assert len(Dataset("camus", "EF", root=tmp_path)) == 8
    runs = plan("b0-A4-C", ["image_stats"], protocols=["cv"], n_fold=2)
    assert lacking([run.row.dataset for run in runs], tmp_path) == [datasets.missing_note(source)]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            PARTS | {"patient0002": "testing"},
            "patient0002: test here, train in the canonical split",
        ),
        (
            PARTS | {"patient0200": "training"},
            "patient0200: train here, val in the canonical split",
        ),
        (PARTS | {"patient0501": "training"}, "patient0501: not among the 500 that were published"),
    ],
)
def test_local_data_that_disagree_are_refused_by_name(
    tmp_path: Path, parts: dict[str, str], said: str
) -> None:
    root = write(tmp_path / "c", parts)
    with pytest.raises(SplitError, match=said):
        datasets.source("camus", root)
    with pytest.raises(SplitError, match=said):
        Dataset("camus", "EF", root=root)
    runs = plan("b0-A4-C", ["image_stats"], protocols=["cv"], n_fold=2)
    with pytest.raises(SplitError, match=said):
        list(execute(runs, Settings(root=root, results=tmp_path / "r")))
    assert not (tmp_path / "r").exists()


def test_phantoms_are_never_compared(tmp_path: Path) -> None:
    root = write(tmp_path / "c", PARTS | {"patient0002": "testing"})
    (root / "PHANTOM").write_text("made\n")
    source = datasets.source("camus", root)
    assert canonical.verify_split(source) is None
    assert datasets.missing_note(source) == ""


def test_a_tree_without_a_split_has_nothing_to_disagree_with(tmp_path: Path) -> None:
    root = write(tmp_path)
    shutil.rmtree(root / "database_split")
    assert datasets.source("camus", root).records()[0].split == ""


def test_the_older_release_is_not_held_against_the_newer(tmp_path: Path) -> None:
    source = datasets.source("camus", camus.write_old(tmp_path))
    assert source.canonical() == ""
    assert canonical.compare_split(source) is None


class _Counted(CamusSource):
    def __init__(self, name: str, units: Mapping[str, str]) -> None:
        self.root, self._name, self._units = Path("made"), name, units

    phantom = False  # type: ignore[assignment]

    def canonical(self) -> str:
        return self._name

    def units(self) -> Mapping[str, str]:
        return self._units


def test_where_lists_may_not_be_shared_a_part_cannot_outgrow_the_published_one() -> None:
    whole = {f"v{i}": "val" for i in range(1288)} | {f"t{i}": "test" for i in range(1277)}
    assert canonical.verify_split(_Counted("echonet", whole)) is not None
    assert datasets.missing_note(_Counted("echonet", whole)).startswith(
        "7465 of 10030 published patients are not in"
    )
    with pytest.raises(SplitError, match="1289 patients in val here, 1288 in the canonical split"):
        canonical.verify_split(_Counted("echonet", whole | {"x": "val"}))


def test_ids_of_one_person_stay_one_person() -> None:
    split = canonical.load("circor")
    pair = next(
        [i for i, p in split.places.items() if p == person]
        for person, n in Counter(split.places.values()).items()
        if n == 2
    )
    assert (
        canonical.verify_split(_Counted("circor", {i: split.places[i] for i in pair})) is not None
    )
    with pytest.raises(SplitError, match=pair[1]):
        canonical.verify_split(_Counted("circor", {i: i for i in pair}))


# --- the command ---


def test_a_phantom_is_no_canonical_split(tmp_path: Path) -> None:
    root = write(tmp_path / "c")
    (root / "PHANTOM").write_text("made\n")
    with pytest.raises(UnsupportedOptionError, match="phantom data"):
        canonical_write.main(["camus", "--root", str(root), "--to", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["echonet", "tmed"])
def test_counts_are_written_without_data(name: str, tmp_path: Path) -> None:
    assert canonical_write.main([name, "--to", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}.toml").read_text() == (SPLITS / f"{name}.toml").read_text()


@pytest.mark.real
@pytest.mark.parametrize("name", ["camus", "circor", "cinc2016"])
def test_real_data_give_the_very_file(real_data: Path, tmp_path: Path, name: str) -> None:
    assert canonical_write.main([name, "--root", str(real_data / name), "--to", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}.toml").read_text() == (SPLITS / f"{name}.toml").read_text()


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:.*Patients are unknown:etab.errors.EtabWarning")
@pytest.mark.parametrize(("name", "lacks"), [("camus", 0), ("circor", 896), ("cinc2016", 2893)])
def test_real_data_agree(real_data: Path, name: str, lacks: int) -> None:
    assert issubclass(EtabWarning, UserWarning)
    source: Source = datasets.source(name, real_data / name)
    found = canonical.verify_split(source)
    assert found is not None
    assert found.agrees
    assert found.lacking == lacks
    if name == "circor":
        assert isinstance(source, CircorSource)
        ours = folds(sorted({r.patient for r in source.records()}), 5, 0)
        assert np.bincount(list(ours.values())).min() >= 8
