"""Write the canonical tables: the rows of every published cell, and the backbones that made them.

``python -m benchmarks.canonical`` reads the published results and writes ``configs/canonical/``: a
file for each dataset with the digest of the rows of each task, protocol and seed, of the same
rows whatever their folds, with the digest, value and half width of each published cell, and with the digest of
each published result by another head or in another precision (``results_heads/``); ``backbones.json``
with the identity of each backbone and the tasks that it cannot have, and ``masks.json`` with the digests
of the predictions and masks of each cell, of which the repository keeps the stated sample. Boards compare results with them, so that a
result cannot bring rows, patients, folds or a truth of its own. Run it after the boards were made
again. It fails where two backbones of one cell have different rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from etab.leaderboard.admission.canonical import (
    DIGEST_DIGITS,
    PublishedCell,
    cell_key,
    facts_digest,
    facts_key_of,
    key_of,
    rows_digest,
    variant_key,
)
from etab.leaderboard.board import CONTROL, PRETRAINED, RANDOM_TWIN
from etab.results import Result, load_results

PUBLISHED = Path(__file__).parent
CANONICAL = PUBLISHED.parent / "configs" / "canonical"

RELEASES = {
    ("results", "camus"): "CAMUS, 500 patients, a copy resampled to 224 x 224 pixels",
    ("results_sounds", "circor"): "CirCor DigiScope 1.0.3, the 46 ids of the small board",
    ("results_sounds", "cinc2016"): "CinC Challenge 2016, the 347 recordings of the small board",
    ("results_sounds_full", "circor"): "CirCor DigiScope 1.0.3, all 942 public ids",
    ("results_sounds_full", "cinc2016"): "CinC Challenge 2016, all 3,240 training recordings",
}


VARIANTS = PUBLISHED / "results_heads"
"""Results that no board ranks: they tell how far a cell depends on its head and its precision."""


def published() -> Iterator[tuple[Path, Result, str]]:
    """Yield every published result of patients, with its folder and the title of its release."""
    for (folder, dataset), title in RELEASES.items():
        for result in load_results(PUBLISHED / folder):
            if result.dataset == dataset and not result.phantom and not result.bad:
                yield PUBLISHED / folder, result, title


def canonical_rows() -> dict[str, dict[str, dict[str, object]]]:
    """Digests of the rows of each cell: by dataset, digest of the data, and key of the cell."""
    datasets: dict[str, dict[str, dict[str, object]]] = {}
    for folder, result, title in published():
        releases = datasets.setdefault(result.dataset, {})
        empty: dict[str, object] = {"title": title, "rows": {}, "facts": {}, "cells": {}}
        release = releases.setdefault(result.data_digest, empty)
        table = result.predictions(folder)
        digests = {
            "rows": (key_of(result), rows_digest(table)),
            "facts": (facts_key_of(result), facts_digest(table)),
            "cells": (cell_key(result), PublishedCell.of(result).to_text()),
        }
        for what, (key, digest) in digests.items():
            known = release[what]
            assert isinstance(known, dict)
            if key and known.setdefault(key, digest) != digest:
                raise SystemExit(f"{result.path(folder)} has other {what} than those before it.")
    for result in load_results(VARIANTS):
        release = datasets[result.dataset][result.data_digest]
        variants = release.setdefault("variants", {})
        assert isinstance(variants, dict)
        variants[variant_key(result)] = result.predictions_sha256[:DIGEST_DIGITS]
    return datasets


def identities() -> dict[str, dict[str, object]]:
    """Digest of the weights, kind and lacking tasks of each published backbone, by name."""
    known: dict[str, dict[str, object]] = {}
    for folder, result, _ in published():
        facts: dict[str, object] = {
            "weights_sha256": result.weights_sha256,
            "kind": _kind(result),
        }
        if result.settings.get("family") == "vit":
            facts["resampled"] = True  # an embedding of positions follows the size of the input
        if known.setdefault(result.backbone, facts) != facts:
            raise SystemExit(f"{result.path(folder)} is of another {result.backbone}.")
    for name, codes in lacking_tasks().items():
        known[name]["lacks"] = codes
    return known


def lacking_tasks() -> dict[str, list[str]]:
    """Tasks that a backbone has in no folder, though it has other tasks of their dataset."""
    tasks_of: dict[tuple[str, str], set[str]] = {}
    all_tasks: dict[str, set[str]] = {}
    for _, result, _ in published():
        tasks_of.setdefault((result.backbone, result.dataset), set()).add(result.task)
        all_tasks.setdefault(result.dataset, set()).add(result.task)
    lacking: dict[str, list[str]] = {}
    for (backbone, dataset), codes in sorted(tasks_of.items()):
        absent = sorted(all_tasks[dataset] - codes)
        if absent:
            lacking.setdefault(backbone, []).extend(absent)
    return lacking


def masks() -> dict[str, list[str]]:
    """Digests of the predictions and of all masks of each published cell."""
    return {
        cell_key(result): [result.predictions_sha256, result.masks["sha256"]]
        for _, result, _ in published()
        if result.masks
    }


def _kind(result: Result) -> str:
    if result.backbone.startswith("random/"):
        return RANDOM_TWIN
    return CONTROL if result.settings.get("family") == "control" else PRETRAINED


def main() -> None:
    """Write all files."""
    CANONICAL.mkdir(exist_ok=True)
    for dataset, releases in canonical_rows().items():
        _write(f"{dataset}.json", {"releases": releases})
    _write("backbones.json", identities())
    _write("masks.json", masks())


def _write(name: str, content: object) -> None:
    text = json.dumps(content, indent=1, sort_keys=True)
    (CANONICAL / name).write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
