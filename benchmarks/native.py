"""CAMUS in its native pictures beside the copy of 224 x 224 pixels that the boards are of.

``python -m benchmarks.native --copy CAMUS --pictures DIR --work DIR`` needs the copy, and a folder with native
pictures and masks of the four-chamber view somewhere below it (``patient0001_4CH_ED.nii``,
``patient0001_4CH_ED_gt.nii``, ``.nii.gz`` as well). It lays out two data sets of the patients that both have, one
of each kind, with links to the files and with the splits and ejection fractions of the copy. Then it runs the same
cells on both by ``etab run`` and writes ``benchmarks/native.md``: values, and differences paired over patients.
Whoever has the official release passes its ``database_nifti`` as pictures.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from etab.leaderboard.designs import design_of
from etab.metrics.columns import ScoredRows
from etab.metrics.inference import PairedTest, paired_test
from etab.results import Result, load_results
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS

PAGE = Path(__file__).with_suffix(".md")
COPY = "copy"
NATIVE = "native"
BACKBONES = "image_stats,pixel_pca,efficientnet_lite0,mobilenetv2"
CODES = "b0-A4-C,b1-A4-C,d0-A4-C"
STILLS = ("4CH_ED", "4CH_ED_gt", "4CH_ES", "4CH_ES_gt")
HEADER = [
    "| task | backbone | copy | native | native minus copy | 95 % |",
    "|---|---|---|---|---|---|",
]
WORDS = """
The boards are of a copy of CAMUS: pictures resampled to 224 x 224 pixels without a filter against aliasing, and
grey levels stretched to 0 to 255 picture by picture. Here are the same cells on native pictures: four-chamber view,
{patients} people, the same folds, {protocol}. Networks see 224 x 224 pixels either way, made by etab's own
interpolation from native pictures. The difference has the interval of two encoders on the same patients, new
training patients included (docs/methods.md). Two-chamber pictures in their native size were not at hand.
"""


def files_by_name(folder: Path) -> dict[str, Path]:
    """Find volumes below a folder, by their names without ending.

    Args:
        folder: The folder.

    Returns:
        Files by names such as "patient0001_4CH_ED".
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("patient*_4CH_*.nii*")):
        found.setdefault(path.name.split(".")[0], path)
    return found


def lay_out(copy: Path, pictures: Mapping[str, Path], folder: Path) -> int:
    """Write a data set in the layout of CAMUS, with links to four-chamber files.

    Args:
        copy: The copy, which tells splits and ejection fractions.
        pictures: Files by name; patients without all four are left out.
        folder: The folder to write.

    Returns:
        The number of patients.
    """
    complete = []
    for patient in sorted(path.name for path in (copy / "database_nifti").glob("patient*")):
        names = [f"{patient}_{still}" for still in STILLS]
        if not all(name in pictures for name in names):
            continue
        complete.append(patient)
        home = folder / "database_nifti" / patient
        home.mkdir(parents=True)
        for name in names:
            file = pictures[name].resolve()
            (home / file.name).symlink_to(file)
        shutil.copy(copy / "database_nifti" / patient / "Info_2CH.cfg", home)
    _copy_splits(copy, folder, complete)
    return len(complete)


def _copy_splits(copy: Path, folder: Path, patients: Sequence[str]) -> None:
    """Write the split files with these patients alone."""
    to = folder / "database_split"
    to.mkdir()
    for path in (copy / "database_split").glob("subgroup_*.txt"):
        listed = [name for name in path.read_text().split() if name in set(patients)]
        (to / path.name).write_text("\n".join(listed) + "\n")


def run(root: Path, results: Path, backbones: str, codes: str) -> None:
    """Run the cells that a folder of results does not hold yet."""
    command = [
        *(sys.executable, "-m", "etab", "run", "--root", str(root), "--results", str(results)),
        *("--tasks", codes, "--backbones", backbones, "--protocol", BOARD_PROTOCOL),
        *("--keep-masks", "none", "--workers", "1", "--cache", str(results.with_name("cache"))),
    ]
    subprocess.run(command, check=True)


def difference(one: Result, other: Result, folders: tuple[Path, Path]) -> PairedTest:
    """Compare a cell on native pictures with the same cell on the copy, paired over patients.

    Args:
        one: The cell on native pictures.
        other: The cell on the copy.
        folders: Their folders of results.

    Returns:
        The difference, first minus second.
    """
    tables = [
        result.predictions(folder) for result, folder in zip((one, other), folders, strict=True)
    ]
    rows = [ScoredRows.of(table) for table in tables]
    return paired_test(one.metric, rows[0], rows[1], design_of(one, tables[0]))


def lines(work: Path) -> list[str]:
    """The page, from the results in both folders."""
    folders = (work / f"results_{NATIVE}", work / f"results_{COPY}")
    native, copy = ({(r.task, r.backbone): r for r in load_results(folder)} for folder in folders)
    shared = sorted(native.keys() & copy.keys())
    patients = {native[cell].n_patients for cell in shared}
    out = [
        "# Native pictures of CAMUS beside the copy",
        "",
        "Made by `python -m benchmarks.native`.",
        WORDS.format(patients=max(patients), protocol=BOARD_PROTOCOL),
        *HEADER,
    ]
    for cell in shared:
        test = difference(native[cell], copy[cell], folders)
        values = f"{copy[cell].value:.4f} | {native[cell].value:.4f}"
        metric = TASKS[cell[0]].metric
        out.append(
            f"| {cell[0]}, {metric} | {cell[1]} | {values} | {test.difference:+.4f} | "
            f"{test.low:+.4f} to {test.high:+.4f} |"
        )
    return out


def main() -> None:
    """Lay both data sets out, run the cells, and write the page."""
    parser = argparse.ArgumentParser(description="native CAMUS beside the copy of 224 pixels")
    parser.add_argument("--copy", type=Path, required=True, help="the copy of 224 pixels")
    parser.add_argument("--pictures", type=Path, required=True, help="native pictures and masks")
    parser.add_argument("--work", type=Path, required=True, help="a folder for data and results")
    parser.add_argument("--backbones", default=BACKBONES)
    parser.add_argument("--tasks", default=CODES)
    asked = parser.parse_args()
    native = files_by_name(asked.pictures)
    copy = files_by_name(asked.copy)
    both = native.keys() & copy.keys()
    for kind, files in ((COPY, copy), (NATIVE, native)):
        root = asked.work / kind
        if not root.exists():
            lay_out(asked.copy, {name: files[name] for name in both}, root)
        run(root, asked.work / f"results_{kind}", asked.backbones, asked.tasks)
    PAGE.write_text("\n".join(lines(asked.work)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
