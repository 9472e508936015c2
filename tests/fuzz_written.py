"""Files that etab writes into folders that others share, and reads again; further trees and tables.

Each is small and sound, and is read as the command reads it that needs it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from etab import backbones
from etab.backbones.weights.containers import tf_checkpoint
from etab.challenges.cinc2016 import _read_log
from etab.challenges.echorisk import evaluate_echorisk
from etab.challenges.safety import resume_at
from etab.cli.doctor import _calibrations
from etab.datasets.base import Source
from etab.datasets.camus import CamusSource
from etab.datasets.cinc2016 import Cinc2016Source
from etab.datasets.circor import CircorSource
from etab.datasets.circor_parquet import CircorParquetSource
from etab.datasets.integrity.alike import Alike, alike_note, kept_pairs_path, known_alike
from etab.datasets.own.files import read_mask
from etab.datasets.pediatric import PediatricSource
from etab.datasets.unitylv import UnityLvSource
from etab.features import store
from etab.features.calibration import Calibration
from etab.features.merged import MergedFiles, unfinished_damage
from etab.files import read_file
from etab.leaderboard.ranking import rank
from etab.leaderboard.remembered import board_in
from etab.runs.unit_progress import FrameProgress
from etab.site.subgroups import FORMAT, read_subgroups
from etab.site.write import MADE_BY, MARKER, _former_files
from etab.storage.claims import Holder
from etab.storage.watchdog import note_of, remove_empty_notes, where_it_hung
from tests import fuzz, made
from tests.backbones.test_containers import _proto, _table
from tests.damage import Subject, text_file, unfinished_entry
from tests.trees import camus

Build = Callable[[Path], Path]


# --- caches: what is damaged is made again ---

_MEASURED = Calibration(
    "resnet50",
    "cpu",
    "a processor",
    32,
    "bf16",
    {"fp32": 2.0, "bf16": 1.0},
    {"bf16": 0.01},
    {"x": "y"},
)


def _read_calibration(path: Path) -> object:
    """Read what was measured as ``etab doctor`` shows it."""
    with patch.dict(os.environ, ETAB_CACHE=str(path.parents[1])):
        return [finding.detail for finding in _calibrations()]


_PAIRS = json.dumps([dataclasses.asdict(Alike("patient0001_2CH", "patient0002_2CH", 0.99, True))])


def _pairs(folder: Path) -> Path:
    camus.write(folder / "camus", n=3)
    path = kept_pairs_path(CamusSource(folder / "camus"), "0" * 8, folder)
    return text_file(str(path.relative_to(folder)), _PAIRS)(folder)


def _read_pairs(path: Path) -> object:
    source = CamusSource(path.parents[1] / "camus")
    return alike_note(known_alike(source, "0" * 8, path.parents[1]))


def _kept_board(folder: Path) -> Path:
    """What follows the digest of a board that was computed before."""
    results = made.board(folder / "results", {"strong": 0.9, "weak": 0.4})
    board = rank(results, made.suite(("b0-A4-C",)), folder=folder / "results", draws=20)
    (folder / "a.board").write_bytes(pickle.dumps(board, protocol=5))
    return folder / "a.board"


def _read_kept_board(path: Path) -> object:
    """Read a board as ``BoardMemory`` does, which computes one again that cannot be read."""
    try:
        return board_in(read_file(path))
    except OSError:
        return None


def _weights_digest(folder: Path) -> Path:
    card = backbones.card("efficientnet_lite0")
    store._remember_digest(card, folder, "0" * 64)
    return store._digest_file(card, folder)


def _read_weights_digest(path: Path) -> object:
    """Read the digest of weights, which becomes a part of keys."""
    digest = store._known_digest(backbones.card("efficientnet_lite0"), path.parents[2])
    assert digest is None or isinstance(digest, str)
    return digest


def _unfinished(name: str) -> Build:
    """A file of an entry of which one shard has been copied."""

    def build(folder: Path) -> Path:
        return unfinished_entry(folder).folder / name

    return build


def _read_unfinished(path: Path) -> object:
    files = MergedFiles(path.parent)
    return files.layout(), files.seconds(files.note(0, 4)), unfinished_damage(path.parent)


# --- notes that processes leave for each other ---


def _hung(folder: Path) -> Path:
    holder = Holder.this_process()
    note = note_of(folder, holder)
    note.parent.mkdir(parents=True)
    note.write_text(
        f"{json.dumps(dataclasses.asdict(holder))}\n\nTimeout (0:00:05)!\n"
        'Thread 0x2 (most recent call first):\n  File "a/net.py", line 12 in forward\n'
    )
    return note


def _read_hung(path: Path) -> object:
    where = where_it_hung(path.parents[1], Holder.this_process())
    remove_empty_notes(path.parents[1])
    return where


def _read_progress(path: Path) -> object:
    return FrameProgress(path.parents[1], path.stem).read()


# --- sites and challenges ---

_SUBGROUPS = json.dumps(
    {
        "format": FORMAT,
        "notes": ["a note"],
        "cells": [
            {
                "backbone": "cnn",
                "task": "b0-A4-C",
                "predictions_sha256": "0" * 64,
                "groups": [["sex: female", 0.8, 0.7, 0.9, 20], ["sex: male", 0.7, None, None, 3]],
            }
        ],
    }
)


def _read_subgroups(path: Path) -> object:
    cells = {"b0-A4-C": SimpleNamespace(predictions_sha256="0" * 64)}
    board: Any = SimpleNamespace(rows=[SimpleNamespace(backbone="cnn", cells=cells)])
    return read_subgroups(path, board).cells


_MARK = json.dumps({"made_by": MADE_BY, "files": ["index.html", "assets/a.css"]})
_TRUTH = "patient_id,timepoint,lvef\nA,T1,50\nB,T1,60\nC,T2,40\n"
_ANSWERED = "record,answer,seconds,why\na0001,1,0.500,\na0002,,1.5,no answer\n"


def _risk(name: str) -> Build:
    def build(folder: Path) -> Path:
        (folder / "truth.csv").write_text(_TRUTH)
        (folder / "made.csv").write_text(_TRUTH.replace("lvef", "lvef_pred"))
        return folder / name

    return build


def _read_risk(path: Path) -> object:
    risk = evaluate_echorisk(path.with_name("made.csv"), path.with_name("truth.csv"), 1)
    return risk.render()


# --- weights of TensorFlow, which are read without it ---


def _checkpoint(name: str) -> Build:
    def build(folder: Path) -> Path:
        rows = {b"": b"\x08\x01", b"a/kernel": _proto((2, 3), 4, 24), b"b": _proto((), 0, 4)}
        (folder / "i").write_bytes(_table(rows))
        (folder / "d").write_bytes(np.arange(7, dtype="<f4").tobytes())
        return folder / name

    return build


# --- tables and trees ---


def _own_parquet(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fuzz.own_files("t.csv")(folder)
    header, *rows = [line.split(",") for line in (folder / "t.csv").read_text().splitlines()]
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(header)})
    pq.write_table(table, folder / "t.parquet")
    description = folder / "clinic.toml"
    description.write_text(description.read_text().replace("t.csv", "t.parquet"))
    return folder / "t.parquet"


def _nifti_mask(folder: Path) -> Path:
    mask = (camus.picture("patient0001", "4CH", 0) > 99).astype(np.uint8)
    camus.write_nifti(folder / "m.nii.gz", mask)
    return folder / "m.nii.gz"


_TREES: dict[str, tuple[type[Source], tuple[str, ...]]] = {
    "pediatric": (PediatricSource, ("FileList.csv", "VolumeTracings.csv")),
    "unitylv": (UnityLvSource, ("reader-01.json",)),
    "circor": (CircorSource, ("training_data.csv", "13641.txt")),
    "circor_hf": (CircorParquetSource, ("original-00000-of-00001.parquet",)),
    "cinc2016": (Cinc2016Source, ("Online_Appendix_training_set.csv", "REFERENCE_withSQI.csv")),
}

WRITTEN = [
    Subject(
        "calibration",
        text_file("calibration/a.json", json.dumps(dataclasses.asdict(_MEASURED))),
        _read_calibration,
    ),
    Subject("alike", _pairs, _read_pairs),
    Subject("weights digest", _weights_digest, _read_weights_digest),
    Subject("kept board", _kept_board, _read_kept_board),
    *[
        Subject(f"unfinished {name}", _unfinished(name), _read_unfinished)
        for name in ("layout.json", "0-4.merged")
    ],
    Subject("hung", _hung, _read_hung),
    Subject("progress", text_file(".progress/a.progress", "[3, 64]"), _read_progress),
    Subject("subgroups", text_file("subgroups.json", _SUBGROUPS), _read_subgroups),
    Subject(
        "site", text_file(MARKER, _MARK), lambda path: _former_files(path.parent), names=("--html",)
    ),
    Subject(
        "challenge run",
        text_file("run.json", json.dumps({"entry": "0" * 64, "data": "1" * 64})),
        lambda path: resume_at(path.parent, {"entry": "0" * 64, "data": "1" * 64}),
    ),
    Subject(
        "challenge log", text_file("records.csv", _ANSWERED), lambda path: _read_log(path.parent)
    ),
    *[
        Subject(f"echorisk {name}", _risk(name), _read_risk, names=("truth.csv", "made.csv"))
        for name in ("truth.csv", "made.csv")
    ],
    Subject("tf index", _checkpoint("i"), lambda p: tf_checkpoint(p, p.with_name("d"))),
    Subject("tf data", _checkpoint("d"), lambda p: tf_checkpoint(p.with_name("i"), p)),
    Subject("own parquet", _own_parquet, fuzz.read_own, names=("clinic.toml",)),
    Subject("mask .nii.gz", _nifti_mask, lambda path: read_mask(path, 1).sum()),
    *[
        Subject(
            f"{name} {file}",
            fuzz.published(name, file),
            fuzz.everything_of_tree(name, kind),
            names=(*files, name),
        )
        for name, (kind, files) in _TREES.items()
        for file in files
    ],
]
