"""Random damage to every file that etab reads: ``python -m tests.fuzz [--inputs N] [--seed S] [NAME ...]``.

Each input is a sound file with some random changes. It is read in a child process that has 1 GiB of
new memory and 5 seconds. The reading must end in a value or in an error of etab that names a file.
An exception of a library, the end of the process and a reading without end are faults; each is
printed with the number that repeats it (``--only NAME:NUMBER``).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from etab import phantom
from etab.backbones.own.vectors import read_vectors
from etab.datasets.base import Source
from etab.datasets.bmdhs import BmdhsSource
from etab.datasets.echorisk import EchoRiskSource
from etab.datasets.mimic_echo import MimicEchoSource
from etab.datasets.own.description import read_description
from etab.datasets.own.table import read_own_table
from etab.errors import EtabError, EtabWarning
from etab.features.entries import read_entry, write_entry
from etab.features.series_files import BEAT, CollectedSeries, Layers, load_series
from etab.readers.volume import read_volume
from etab.results.folder import read_results
from etab.results.masks import packed_masks, read_masks
from etab.types import Record
from tests import made
from tests.damage import Subject, everything_of, limits
from tests.fuzz_structure import restructured
from tests.trees import camus

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = (b"-1", b"0", b"99999999999", b"nan", b"inf", b"1e308", b'"', b"\0", b"\xff", b"../", b"")


@dataclass(frozen=True)
class Fault:
    """An input that was not refused by name: the subject, the number of the input and what happened."""

    subject: str
    number: int
    event: str

    def __str__(self) -> str:
        return f"{self.subject}:{self.number} {self.event}"


def _flip_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    for position in rng.integers(0, len(data), int(rng.integers(1, 9))):
        data[int(position)] ^= 1 << int(rng.integers(8))
    return data


def _put_number(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Overwrite 1, 2, 4 or 8 bytes with an extreme number; half the time in the first 512 bytes."""
    end = min(len(data), 512) if rng.random() < 0.5 else len(data)
    position = int(rng.integers(end))
    size = int(rng.choice([1, 2, 4, 8]))
    value = int(rng.choice(EXTREMES)) % (1 << 8 * size)
    order = "little" if rng.random() < 0.5 else "big"
    data[position : position + size] = value.to_bytes(size, order)
    return data


def _put_word(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Put a number, a quote or a path where a digit is, or anywhere in a file without digits."""
    digits = [i for i, byte in enumerate(data[:65536]) if 48 <= byte <= 57] or [0]
    position = int(rng.choice(digits))
    word = WORDS[int(rng.integers(len(WORDS)))]
    data[position : position + int(rng.integers(0, 4))] = word
    return data


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def _lose(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 65))]
    return data


def _repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data)))
    part = data[start : start + int(rng.integers(1, 513))]
    target = int(rng.integers(len(data)))
    data[target:target] = part * int(rng.integers(1, 20))
    return data


def _move(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data)))
    target = int(rng.integers(len(data)))
    size = int(rng.integers(1, 129))
    data[target : target + size] = data[start : start + size]
    return data


CHANGES = (_flip_bits, _put_number, _put_word, _cut, _lose, _repeat, _move)


def damaged(raw: bytes, subject: str, number: int, seed: int) -> bytes:
    """Change a sound file: half of the inputs at random, half by their format where it is known.

    Args:
        raw: Its content.
        subject: The name of its kind.
        number: The number of the input, from 0.
        seed: The seed of all inputs.
    """
    rng = np.random.default_rng([seed, number, *subject.encode()])

    def change(part: bytes) -> bytes:
        data = bytearray(part)
        for _ in range(int(rng.integers(1, 5))):
            if data:
                data = CHANGES[int(rng.integers(len(CHANGES)))](data, rng)
        return bytes(data)

    by_structure = restructured(raw, rng, change) if rng.random() < 0.5 else None
    return change(raw) if by_structure is None else by_structure


def read_damaged(subject: Subject, path: Path, raw: bytes | None) -> str:
    """Write a damaged file in its place and read it.

    Args:
        subject: The kind of file.
        path: The file.
        raw: Its damaged content; None leaves what is there.

    Returns:
        What went wrong; empty where the reading ended well.
    """
    if raw is not None:
        path.write_bytes(raw)
    try:
        with limits(), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=EtabWarning)
            subject.read(path)
    except EtabError as error:
        message = str(error)
        if not any(name in message for name in (path.name, *subject.names)):
            return f"names no file: {message[:200]!r}"
        if len(message) > 2000:
            return f"an error of {len(message)} characters: {message[:100]!r}"
    except AssertionError as error:
        return f"AssertionError: {str(error)[:200]!r}"
    except BaseException as error:  # whatever a library raises is what this program looks for
        frames = traceback.extract_tb(error.__traceback__)
        line = frames[-1]
        ours = [frame for frame in frames if "/etab/" in frame.filename]
        door = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "no file of etab"
        return (
            f"{type(error).__name__}: {str(error)[:100]!r} at {Path(line.filename).name}:{line.lineno}"
            f", from {door}"
        )
    return ""


def _work(
    subject: Subject, numbers: Sequence[int], seed: int, folder: Path, progress: Any, sender: Any
) -> None:
    """Read inputs one after the other; ``progress`` holds the number of the one at work."""
    path = subject.build(folder)
    raw = path.read_bytes()
    for number in numbers:
        progress.value = number
        event = read_damaged(subject, path, damaged(raw, subject.name, number, seed))
        if event:
            sender.send(Fault(subject.name, number, event))
    progress.value = -1


def fuzz(subject: Subject, numbers: Sequence[int], seed: int = 0) -> list[Fault]:
    """Read damaged files of one kind in child processes, a new one after each that ends early.

    Args:
        subject: The kind of file.
        numbers: The numbers of the inputs.
        seed: The seed of all inputs.
    """
    context = multiprocessing.get_context("fork")
    faults: list[Fault] = []
    left = list(numbers)
    while left:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        progress = context.Value("q", left[0])
        receiver, sender = context.Pipe(duplex=False)
        arguments = (subject, left, seed, folder, progress, sender)
        child = context.Process(target=_work, args=arguments)
        child.start()
        sender.close()
        faults.extend(_received(receiver))
        child.join()
        shutil.rmtree(folder, ignore_errors=True)
        if progress.value < 0:
            break
        faults.append(
            Fault(subject.name, progress.value, f"the process ended with {child.exitcode}")
        )
        left = left[left.index(progress.value) + 1 :]
    return faults


def _received(receiver: Any) -> Iterator[Fault]:
    while True:
        try:
            yield receiver.recv()
        except EOFError:
            return


# --- files that users bring: vectors, masks of results, descriptions of their own tables ---


def _vectors(ending: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        from tests.runs.test_vectors import WRITERS

        keys = [f"camus/patient{i:04d}_4CH#0" for i in range(12)]
        values = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
        return WRITERS[ending](folder / f"v{ending}", keys, values)

    return build


def _read_vectors(path: Path) -> None:
    read = read_vectors(path)
    assert all(np.isfinite(values).all() for values in read.layers.values())


def _masks(folder: Path) -> Path:
    masks = [np.random.default_rng(i).random((20, 30)) > 0.7 for i in range(6)]
    (folder / "c.masks.npz").write_bytes(packed_masks(masks))
    return folder / "c.masks.npz"


def _compressed_metaimage(folder: Path) -> Path:
    pixels = zlib.compress(camus.picture("patient0001", "4CH", 0).tobytes())
    height, width = camus.picture("patient0001", "4CH", 0).shape
    header = (
        f"ObjectType = Image\nNDims = 3\nDimSize = {width} {height} 1\nCompressedData = True\n"
        f"CompressedDataSize = {len(pixels)}\nElementSpacing = 0.5 0.5 1\n"
        "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    (folder / "a.mhd").write_bytes(header.encode() + pixels)
    return folder / "a.mhd"


_DESCRIPTION = """name = "clinic"
table = "t.csv"

[labels.ef]
kind = "value"
column = "EF"
unit = "%"
range = [5, 95]

[labels.low]
kind = "classes"
classes = ["no", "yes"]
"""
_TABLE = "file,patient,view,split,fps,EF,low\n" + "".join(
    f"a{i}.png,p{i // 2},A4C,train,50,{40 + i},{('no', 'yes')[i % 2]}\n" for i in range(10)
)


def own_files(name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / "clinic.toml").write_text(_DESCRIPTION)
        (folder / "t.csv").write_text(_TABLE)
        for i in range(10):
            cv2.imwrite(str(folder / f"a{i}.png"), np.full((16, 16), 20 * i, np.uint8))
        return folder / name

    return build


def read_own(path: Path) -> None:
    """Read a description and its table as ``etab data check`` does: rows that do not fit are counted."""
    read_own_table(read_description(path.with_name("clinic.toml")))


def _results(path: Path) -> None:
    """Read a folder of results; a record that cannot be read is named and the others stay."""
    folder = path.parents[3]
    files = read_results(folder)
    assert len(files.results) + len(files.problems) >= 1


def _record(folder: Path) -> Path:
    return made.save(folder, "b0-A4-C", "cnn", n=12).path(folder)


def published(name: str, file: str) -> Callable[[Path], Path]:
    """A file of a phantom tree of a published dataset."""

    def build(folder: Path) -> Path:
        phantom.write(folder, patients=10, names=[name], size=32)
        return next((folder / name).rglob(file))

    return build


def everything_of_tree(name: str, kind: type[Source]) -> Callable[[Path], object]:
    """Read every record and answer of a phantom tree."""

    def read(path: Path) -> object:
        up = next(i for i, parent in enumerate(path.parents) if parent.name == name)
        return everything_of(kind, up)(path)

    return read


def _series(name: str) -> Callable[[Path], Path]:
    """A file of an entry of series over time."""

    def build(folder: Path) -> Path:
        record = Record("r", "p", "AV", fps=4000)
        layers: Layers = {BEAT: np.ones((50, 4), np.float32), "map0": np.ones((50, 8), np.float16)}

        def compute(part: Path) -> CollectedSeries:
            collected = CollectedSeries(part)
            collected.add_all(iter([(record, layers)]))
            return collected

        write_entry(folder / "entry", compute, load_series)
        return folder / "entry" / name

    return build


def _read_series(path: Path) -> object:
    """Read an entry; one that is damaged is computed again, with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EtabWarning)
        features = read_entry(path.parent, load_series)
    return features is None or [
        rows.sum() for layer in features.sequences.values() for rows in layer.values()
    ]


_TABLES: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "bmdhs": (BmdhsSource, ("train.csv", "additional_metadata.csv")),
    "echorisk": (EchoRiskSource, ("manifest.csv",)),
    "mimic_echo": (
        MimicEchoSource,
        ("echo-record-list.csv", "echo-study-list.csv", "structured-measurement.csv.gz"),
    ),
}

BROUGHT = [
    *[
        Subject(
            f"{name} {file}",
            published(name, file),
            everything_of_tree(name, kind),
            names=(*files, name),
        )
        for name, (kind, files) in _TABLES.items()
        for file in files
    ],
    *[
        Subject(f"series {file}", _series(file), _read_series)
        for file in ("series1.bin", "entry.json")
    ],
    *[
        Subject(f"vectors {ending}", _vectors(ending), _read_vectors)
        for ending in (".npz", ".safetensors", ".parquet")
    ],
    Subject("masks", _masks, lambda path: [m.sum() for m in read_masks(path, 6)]),
    Subject("mhd packed", _compressed_metaimage, lambda path: read_volume(path).data.shape),
    Subject("description", own_files("clinic.toml"), read_own, names=("t.csv",)),
    Subject("own table", own_files("t.csv"), read_own, names=("clinic.toml",)),
    Subject("results folder", _record, _results),
]


def subjects() -> list[Subject]:
    """List every kind of file that the tests know to build and read."""
    from tests import fuzz_brought, fuzz_written
    from tests.readers import test_damaged_files, test_damaged_sounds_and_tables

    shared = [*test_damaged_files.SUBJECTS, *test_damaged_sounds_and_tables.SUBJECTS]
    return [*shared, *BROUGHT, *fuzz_brought.BROUGHT, *fuzz_written.WRITTEN]


def main() -> int:
    """Read the inputs and print the faults; 1 where there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="kinds of files; all of them without a name")
    parser.add_argument("--inputs", type=int, default=10_000, help="inputs of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="NAME:NUMBER", help="one input, read in this process")
    options = parser.parse_args()
    known = {subject.name: subject for subject in subjects()}
    if options.only:
        name, _, number = options.only.rpartition(":")
        return _once(known[name], int(number), options.seed)
    chosen = [known[name] for name in options.names] or list(known.values())
    share = -(-options.inputs // len(chosen))
    n_faults = 0
    for subject in chosen:
        faults = fuzz(subject, range(share), options.seed)
        n_faults += len(faults)
        print(f"{subject.name}: {share} inputs, {len(faults)} faults", flush=True)
        for fault in faults:
            print("  ", fault, flush=True)
    return 1 if n_faults else 0


def _once(subject: Subject, number: int, seed: int) -> int:
    """Read one input without a guard, so that its traceback shows."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    path = subject.build(folder)
    path.write_bytes(damaged(path.read_bytes(), subject.name, number, seed))
    print(path)
    subject.read(path)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
