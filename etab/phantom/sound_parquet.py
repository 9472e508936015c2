"""Writes the Parquet form of a CirCor tree.

Each row is one contiguous annotated stretch of a recording. The split ``original`` holds the
samples as recorded; the split ``processed`` holds the same rows denoised.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import MissingPackageError
from etab.phantom.circor_tree import write_circor
from etab.phantom.sound_files import SOUND_MARK, wav_bytes
from etab.readers.audio import read_wav
from etab.sounds.denoise import processed
from etab.types import Array, FloatArray

_PARTS = ("original", "processed")
_GROUP = 100
_TABLE = "training_data.csv"


@dataclass(frozen=True, slots=True)
class _Stretch:
    """One contiguous annotated stretch: samples (n,), and the state (1 to 4) of each sample."""

    name: str
    samples: FloatArray
    rate: int
    states: Array


def write_circor_parquet(
    root: Path,
    patients: int,
    seed: int,
) -> Iterator[int]:
    """Write a phantom of CirCor as Parquet, and yield the number of patients written after each.

    Args:
        root: The folder to write to.
        patients: The number of patients.
        seed: The same seed gives the sounds of ``write_circor``.

    Raises:
        MissingPackageError: pyarrow or PyWavelets is not installed.
    """
    _pyarrow()
    tree = root / "tree"
    yield from write_circor(tree, patients, seed)
    convert_circor(tree, root, mark=SOUND_MARK)
    shutil.copyfile(tree / "PHANTOM", root / "PHANTOM")
    shutil.rmtree(tree)


def convert_circor(tree: Path, root: Path, *, mark: str = "") -> int:
    """Convert CirCor to Parquet: one file of each split below ``root/data``, and the table.

    Args:
        tree: CirCor in its original layout.
        root: The folder to write to.
        mark: The source of the data, written to the metadata of each file.

    Returns:
        The number of rows in each split.

    Raises:
        MissingPackageError: pyarrow or PyWavelets is not installed.
    """
    rows: list[_Stretch] = []
    for path in sorted((tree / "training_data").glob("*.tsv")):
        rows += _stretches(path)
    folder = root / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for part in _PARTS:
        path = folder / f"{part}-00000-of-00001.parquet"
        _write(path, part, rows, _abnormal(tree), mark)
    shutil.copyfile(tree / _TABLE, root / _TABLE)
    return len(rows)


def _pyarrow() -> Any:
    """Return the module ``pyarrow`` with its Parquet reader."""
    try:
        import pyarrow
        import pyarrow.parquet
        import pywt  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            'Parquet files need pyarrow and PyWavelets: pip install "etab-bench[parquet]".'
        ) from error
    return pyarrow


def _stretches(tsv: Path) -> list[_Stretch]:
    """Cut a recording into its contiguous annotated stretches."""
    samples, rate = read_wav(tsv.with_suffix(".wav"))
    states = np.zeros(len(samples), dtype=np.int64)
    for line in tsv.read_text(encoding="utf-8").splitlines():
        start, end, state = (float(cell) for cell in line.split())
        if start < end:
            first = round(start * rate)
            after_last = round(end * rate)
            states[first:after_last] = int(state)
    # 0 before and after the recording, so that each stretch has a rising and a falling edge.
    annotated = np.concatenate([[0], states > 0, [0]])
    edges = np.flatnonzero(np.diff(annotated))
    starts = edges[::2].tolist()
    ends = edges[1::2].tolist()
    stretches = []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        name = tsv.stem if k == 0 else f"{tsv.stem}_{k}"
        stretches.append(_Stretch(name, samples[start:end], rate, states[start:end]))
    return stretches


def _abnormal(tree: Path) -> dict[str, int]:
    """Map each id of CirCor to 1 for an abnormal outcome, else 0."""
    outcomes = {}
    for path in (tree / "training_data").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        outcomes[path.stem] = int("#Outcome: Abnormal" in text)
    return outcomes


def _write(
    path: Path,
    part: str,
    rows: list[_Stretch],
    abnormal: dict[str, int],
    mark: str,
) -> None:
    """Write one split as a Parquet file.

    Args:
        path: The file to write.
        part: "original" or "processed".
        rows: The stretches, a row each.
        abnormal: The label of each patient.
        mark: The source of the data.
    """
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
    table: dict[str, list[Any]] = {name: [] for name in schema.names}
    for row in rows:
        samples = row.samples
        if part == "processed":
            samples = _denoised(samples, row.rate)
        int_samples = np.clip(np.rint(samples * 32768), -32768, 32767)
        wav = wav_bytes(int_samples, row.rate, mark)
        table["filename"].append(row.name)
        table["recording"].append({"bytes": wav, "path": f"{row.name}.wav"})
        patient = row.name.split("_")[0]
        table["recording_label"].append(abnormal[patient])
        table["heart_state_labels"].append(row.states)
    pa.parquet.write_table(pa.table(table, schema=schema), path, row_group_size=_GROUP)


def _denoised(samples: FloatArray, rate: int) -> FloatArray:
    """Denoise a stretch at level 5, or at the deepest level that a short stretch allows."""
    deepest = int(np.log2(len(samples)))
    return processed(samples, rate, level=min(5, max(1, deepest)))
