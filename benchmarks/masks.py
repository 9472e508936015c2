"""The linear mask probe by least squares against the same probe by likelihood, on CAMUS.

``python -m benchmarks.masks --root CAMUS --cache DIR`` fits ``linear_seg`` and ``mask_logistic`` on the same feature maps:
every backbone of the CAMUS board, the left ventricle (LV), the myocardium (MY) and the left atrium (LA), both views, the
authors' split. ``--repeated NAMES --seeds 0,1`` adds five folds of patients with these fold seeds. Values are mean Dice of
test frames. Penalty, pooling and threshold are chosen inside the training patients. Seconds are processor time of one
thread for a cell alone: sampling the maps, fitting and predicting, but not reading features. Cells are kept in
``benchmarks/masks.json`` as they are done, so that a run goes on where it was interrupted; cells of an earlier version of a
head are run again. The table is written to ``benchmarks/masks.md``.

``--results benchmarks/results,benchmarks/results_heads`` fits nothing: it reads Dice and choices from stored results, where
these are of the version that a head has now, and adds the cells by ``cv5x5``. Their seconds stay those that were measured.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab import backbones, datasets, heads
from etab.cli.cache import default_cache
from etab.features.frames import annotated_frames, frame_features, row_features, task_rows
from etab.results import load_results
from etab.splits import row_splits
from etab.storage.machine import limit_threads
from etab.tasks.menu import TASKS
from etab.types import Array

HERE = Path(__file__).parent
OLD = "linear_seg"
NEW = "mask_logistic"
PRETRAINED = (
    "efficientnet_lite0",
    "efficientnet_lite2",
    "mobilenetv2",
    "vits14_saliency",
    "hed_vgg16",
)
BACKBONES = (*PRETRAINED, *(f"random/{name}" for name in PRETRAINED), "pixel_pca", "image_stats")
STRUCTURES = {"a0": "LV", "a2": "MY", "a1": "LA"}
VIEWS = ("A2", "A4")
REPEATED = "cv5x5"
Cell = dict[str, Any]
Seed = int | str | None  # a fold seed, REPEATED, or the authors' split


def mean_dice(masks: Sequence[Array], truth: Sequence[Array]) -> float:
    """Mean Dice of pairs of boolean masks; 1 where both are empty."""
    values = []
    for mask, true in zip(masks, truth, strict=True):
        size = int(mask.sum()) + int(true.sum())
        both = int((mask & true).sum())
        values.append(2 * both / size if size else 1.0)
    return float(np.mean(values))


def cells(
    root: Path | None, cache: Path, backbone: str, view: str, seed: int | None
) -> Iterator[Cell]:
    """Both heads on the three structures of a view.

    Args:
        root: The folder of CAMUS.
        cache: Where features are kept.
        backbone: The name of a backbone.
        view: "A2" or "A4".
        seed: Fold seed of five folds of patients; None is the authors' split.
    """
    source = datasets.source("camus", root)
    frames = annotated_frames(source)
    embedded = frame_features(source, frames, backbones.card(backbone), cache=cache)
    # Later structures find the points of the first in the memo, so that only the first is timed.
    memos: dict[str, dict[Any, Any]] = {OLD: {}, NEW: {}}
    for number, (code, structure) in enumerate(STRUCTURES.items()):
        task = TASKS[f"{code}-{view}-C"]
        rows = task_rows(task, source, frames)
        features = row_features(embedded.features, rows, maps=True)
        protocol = "official" if seed is None else "cv"
        splits = row_splits(rows.patients, rows.parts, protocol=protocol, n_fold=5, seed=seed or 0)
        target = source.card.target(task.target)
        for name, memo in memos.items():
            start = time.process_time()
            fits = heads.head(name).cross_fit(
                features,
                rows.answers,
                rows.patients,
                splits,
                target,
                rng=np.random.default_rng(0),
                memo=memo,
            )
            seconds = time.process_time() - start
            predicted = [mask for fit in fits for mask in fit.predictions]
            truth = [rows.answers[i] for split in splits for i in split.test]
            yield {
                "backbone": backbone,
                "view": view,
                "structure": structure,
                "seed": seed,
                "head": name,
                "version": heads.HEADS[name].version,
                "dice": mean_dice(predicted, truth),
                "seconds": round(seconds, 2) if number == 0 else None,
                "choices": [dict(fit.choice) for fit in fits],
            }


def stored_cells(folders: Sequence[Path]) -> Iterator[Cell]:
    """Cells of both heads among stored results: the authors' split, and five divisions into folds.

    Args:
        folders: Folders of results.
    """
    seeds = {"official": None, REPEATED: REPEATED}
    for folder in folders:
        for result in load_results(folder):
            code, _, rest = result.task.partition("-")
            is_wanted = code in STRUCTURES and result.protocol in seeds and result.seed == 0
            if is_wanted and result.head in (OLD, NEW):
                yield {
                    "backbone": result.backbone,
                    "view": rest.split("-")[0],
                    "structure": STRUCTURES[code],
                    "seed": seeds[result.protocol],
                    "head": result.head,
                    "version": result.settings["head_version"],
                    "dice": result.value,
                    "seconds": None,
                    "choices": [{"penalty": fold["choice"]["penalty"]} for fold in result.folds],
                }


def with_stored(found: Sequence[Cell], folders: Sequence[Path]) -> list[Cell]:
    """Replace cells by those of stored results; the seconds that were measured stay.

    Cells of earlier versions, and those that one head alone has, are left out.
    """
    names = ("backbone", "view", "structure", "seed", "head")
    merged = {tuple(cell[name] for name in names): cell for cell in found}
    for cell in stored_cells(folders):
        if not is_current(cell):
            continue
        key = tuple(cell[name] for name in names)
        measured = merged.get(key)
        if measured is not None and measured["seconds"] is not None:
            cell["seconds"] = measured["seconds"]
            cell["timed_version"] = measured.get("timed_version", measured["version"])
        merged[key] = cell
    both = Table([cell for cell in merged.values() if is_current(cell)])
    return [cell for key, cell in merged.items() if is_current(cell) and both.has_both(*key[:4])]


def is_current(cell: Cell) -> bool:
    """Whether a cell is of the version that its head has now."""
    return bool(cell["version"] == heads.HEADS[cell["head"]].version)


def finished(stored: Sequence[Cell], backbone: str, view: str, seed: int | None) -> bool:
    """Whether both heads, in their versions of now, are done on every structure of a view."""
    done = {
        (cell["structure"], cell["head"])
        for cell in stored
        if (cell["backbone"], cell["view"], cell["seed"]) == (backbone, view, seed)
        and is_current(cell)
    }
    return done == {(s, head) for s in STRUCTURES.values() for head in (OLD, NEW)}


class Table:
    """The cells that were run, by backbone, view, structure, fold seed and head."""

    def __init__(self, found: Sequence[Cell]) -> None:
        """Index the cells."""
        self.cells = {
            (c["backbone"], c["view"], c["structure"], c["seed"], c["head"]): c for c in found
        }

    def has_both(self, backbone: str, view: str, structure: str, seed: Seed) -> bool:
        """Whether both heads have a cell."""
        return all((backbone, view, structure, seed, head) in self.cells for head in (OLD, NEW))

    def dice(self, backbone: str, view: str, structure: str, seed: Seed, head: str) -> float:
        """Dice of a cell, NaN where it was not run."""
        cell = self.cells.get((backbone, view, structure, seed, head))
        return float(cell["dice"]) if cell else float("nan")

    def gains(self, backbone: str, seed: Seed) -> list[float]:
        """New minus old of every structure and view."""
        keys = [(backbone, view, s, seed) for view in VIEWS for s in STRUCTURES.values()]
        return [self.dice(*key, NEW) - self.dice(*key, OLD) for key in keys]

    def names(self, seed: Seed) -> list[str]:
        """Backbones with cells of a fold seed, in the order of the board."""
        there = {key[0] for key in self.cells if key[3] == seed}
        return [name for name in BACKBONES if name in there]

    def seconds(self, backbone: str, seed: Seed, head: str) -> float:
        """Mean seconds of the cells that were timed."""
        timed = [
            c["seconds"]
            for key, c in self.cells.items()
            if (key[0], key[3], key[4]) == (backbone, seed, head) and c["seconds"] is not None
        ]
        return float(np.mean(timed)) if timed else float("nan")

    def lines(self, seed: Seed) -> Iterator[str]:
        """The rows of a Markdown table."""
        columns = [f"{s} {view}C" for view in VIEWS for s in STRUCTURES.values()]
        yield f"| backbone | {' | '.join(columns)} | mean gain | seconds |"
        yield "|---" * (len(columns) + 3) + "|"
        for name in self.names(seed):
            entries = []
            for view in VIEWS:
                for s in STRUCTURES.values():
                    old = self.dice(name, view, s, seed, OLD)
                    new = self.dice(name, view, s, seed, NEW)
                    entries.append(f"{old:.3f} to {new:.3f}")
            gain = float(np.mean(self.gains(name, seed)))
            old_time = self.seconds(name, seed, OLD)
            new_time = self.seconds(name, seed, NEW)
            spent = f"{old_time:.1f} to {new_time:.1f} ({new_time / old_time:.2f})"
            if np.isnan(old_time + new_time):
                spent = "-"
            yield f"| {name} | {' | '.join(entries)} | {gain:+.4f} | {spent} |"

    def edges(self) -> str:
        """How often the penalty of a fold lies on an edge of its grid."""
        out = []
        for head, grid in grids().items():
            chosen = [
                choice["penalty"]
                for key, cell in self.cells.items()
                if key[4] == head
                for choice in cell["choices"]
            ]
            low = sum(np.isclose(p, min(grid)) for p in chosen)
            high = sum(np.isclose(p, max(grid)) for p in chosen)
            out.append(
                f"{head}: {low} of {len(chosen)} penalties are the smallest of the grid, "
                f"{high} the largest"
            )
        return "; ".join(out) + "."


def grids() -> dict[str, tuple[float, ...]]:
    """The penalties that each head chooses from."""
    from etab.heads.masks.logistic import LOGISTIC_PENALTIES
    from etab.heads.masks.moments import MASK_PENALTIES

    return {OLD: MASK_PENALTIES, NEW: LOGISTIC_PENALTIES}


def versions(found: Sequence[Cell]) -> str:
    """The versions of the heads in the table, beside those of now where they differ."""
    words = []
    for head in (OLD, NEW):
        measured = sorted({cell["version"] for cell in found if cell["head"] == head})
        text = f"`{head}` {' and '.join(map(str, measured))}"
        now = heads.HEADS[head].version
        if measured and measured != [now]:
            text += f" (now {now}; run the command again for it)"
        timed: set[int] = {
            cell.get("timed_version") or cell["version"] for cell in found if _is_timed(cell, head)
        }
        if timed - set(measured):
            text += f" (seconds: {' and '.join(map(str, sorted(timed)))})"
        words.append(text)
    return f"Versions of the heads: {', '.join(words)}."


def _is_timed(cell: Cell, head: str) -> bool:
    return cell["head"] == head and cell["seconds"] is not None


def markdown(found: Sequence[Cell]) -> str:
    """The page: the authors' split, then each fold seed."""
    table = Table(found)
    seeds: list[int] = sorted({c["seed"] for c in found if isinstance(c["seed"], int)})
    out = [
        "# Linear masks: least squares against likelihood",
        "",
        f"Mean Dice on CAMUS (224 px copy), `{OLD}` to `{NEW}`, on the same maps, points and folds; seconds of processor",
        "time of one thread for a cell alone. Made by `python -m benchmarks.masks`, which says what is compared.",
        "",
        "## The authors' split",
        "",
        *table.lines(None),
    ]
    for seed in seeds:
        out += ["", f"## Five folds of patients, fold seed {seed}", "", *table.lines(seed)]
    if table.names(REPEATED):
        out += ["", f"## Five divisions into five folds ({REPEATED})", "", *table.lines(REPEATED)]
    kinds: dict[Seed, str] = {None: "the authors' split", REPEATED: REPEATED}
    for kind, words in kinds.items():
        gains = [g for name in table.names(kind) for g in table.gains(name, kind)]
        if gains:
            out += [
                "",
                f"Mean gain of {np.isfinite(gains).sum()} cells of {words}: "
                f"{np.nanmean(gains):+.4f}; {sum(g > 0 for g in gains)} gain.",
            ]
    out += ["", table.edges(), versions(found)]
    return "\n".join(out) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.masks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, help="the folder of CAMUS")
    parser.add_argument("--cache", type=Path, help="where features are kept")
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--repeated", default="", help="backbones for five folds of patients")
    parser.add_argument("--seeds", default="0,1", help="fold seeds of --repeated")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of masks.json and masks.md")
    parser.add_argument(
        "--results", default="", help="folders of results to read cells from, and fit nothing"
    )
    asked = parser.parse_args(words)
    limit_threads()
    store = asked.out / "masks.json"
    found: list[Cell] = json.loads(store.read_text()) if store.exists() else []
    if asked.results:
        found = with_stored(found, [Path(folder) for folder in asked.results.split(",")])
        store.write_text(json.dumps(found, indent=1) + "\n")
        (asked.out / "masks.md").write_text(markdown(found))
        return 0
    wanted: list[tuple[str, int | None]] = [(n, None) for n in asked.backbones.split(",") if n]
    seeds = [int(s) for s in asked.seeds.split(",")]
    wanted += [(n, seed) for n in asked.repeated.split(",") if n for seed in seeds]
    for backbone, seed in wanted:
        for view in VIEWS:
            if finished(found, backbone, view, seed):
                continue
            # Cells of an earlier version, or of a run that ended within this view, go.
            key = (backbone, view, seed)
            found = [c for c in found if (c["backbone"], c["view"], c["seed"]) != key]
            found += cells(asked.root, asked.cache or default_cache(), backbone, view, seed)
            store.write_text(json.dumps(found, indent=1) + "\n")
            (asked.out / "masks.md").write_text(markdown(found))
    (asked.out / "masks.md").write_text(markdown(found))
    print(markdown(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
