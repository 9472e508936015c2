"""Writes the Parquet form of a CirCor tree: a row for each contiguous annotated stretch, splits
original and processed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import MissingPackageError
from etab.phantom.sound_trees import SOUND_MARK, wav_bytes, write_circor
from etab.readers.audio import read_wav
from etab.sounds.denoise import processed
from etab.types import Array, FloatArray

_PARTS = ("original", "processed")
_GROUP = 100
_TABLE = "training_data.csv"


def write_circor_parquet(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write a made CirCor as Parquet; yields after each patient. The same seed gives the sounds of
    ``write_circor``.
    """
    _pyarrow()
    tree = root / "tree"
    yield from write_circor(tree, patients, seed)
    convert_circor(tree, root, mark=SOUND_MARK)
    shutil.copyfile(tree / "PHANTOM", root / "PHANTOM")
    shutil.rmtree(tree)


def convert_circor(tree: Path, root: Path, *, mark: str = "") -> int:
    """Write ``root/data/original-00000-of-00001.parquet``, its processed twin and the table;
    returns the rows.

    tree: CirCor in its original layout. mark: what the files' metadata says of where they are from.
    Raises MissingPackageError without pyarrow or PyWavelets.
    """
    rows = [
        row for path in sorted((tree / "training_data").glob("*.tsv")) for row in _stretches(path)
    ]
    (root / "data").mkdir(parents=True, exist_ok=True)
    for part in _PARTS:
        _write(root / "data" / f"{part}-00000-of-00001.parquet", part, rows, _abnormal(tree), mark)
    shutil.copyfile(tree / _TABLE, root / _TABLE)
    return len(rows)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
        import pywt  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            'Parquet files need pyarrow and PyWavelets: pip install "etab-bench[parquet]".'
        ) from error
    return pyarrow


def _stretches(tsv: Path) -> list[tuple[str, FloatArray, int, Array]]:
    """(name, samples, rate, states 1 to 4 of each sample) of each contiguous annotated stretch of a
    recording.
    """
    samples, rate = read_wav(tsv.with_suffix(".wav"))
    states = np.zeros(len(samples), dtype=np.int64)
    for line in tsv.read_text(encoding="utf-8").splitlines():
        start, end, state = (float(cell) for cell in line.split())
        if start < end:
            states[round(start * rate) : round(end * rate)] = int(state)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], states > 0, [0]])))
    pairs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    names = [tsv.stem if k == 0 else f"{tsv.stem}_{k}" for k in range(len(pairs))]
    return [
        (name, samples[a:b], rate, states[a:b]) for name, (a, b) in zip(names, pairs, strict=True)
    ]


def _abnormal(tree: Path) -> dict[str, int]:
    texts = {
        path.stem: path.read_text(encoding="utf-8")
        for path in (tree / "training_data").glob("*.txt")
    }
    return {name: int("#Outcome: Abnormal" in text) for name, text in texts.items()}


def _write(
    path: Path,
    part: str,
    rows: list[tuple[str, FloatArray, int, Array]],
    abnormal: dict[str, int],
    mark: str,
) -> None:
    pa = _pyarrow()
    sound = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [
            ("filename", pa.string()),
            ("recording", sound),
            ("recording_label", pa.int64()),
            ("heart_state_labels", pa.list_(pa.int64())),
        ],
        metadata={"source": mark},
    )
    table = {name: [] for name in schema.names}  # type: dict[str, list[Any]]
    for name, samples, rate, states in rows:
        stretch = samples if part == "original" else _denoised(samples, rate)
        int_samples = np.clip(np.rint(stretch * 32768), -32768, 32767)
        table["filename"].append(name)
        table["recording"].append(
            {"bytes": wav_bytes(int_samples, rate, mark), "path": f"{name}.wav"}
        )
        table["recording_label"].append(abnormal[name.split("_")[0]])
        table["heart_state_labels"].append(states)
    pa.parquet.write_table(pa.table(table, schema=schema), path, row_group_size=_GROUP)


def _denoised(samples: FloatArray, rate: int) -> FloatArray:
    """``processed`` at the deepest level up to 5 that a short stretch has."""
    return processed(samples, rate, level=min(5, max(1, int(np.log2(len(samples))))))
