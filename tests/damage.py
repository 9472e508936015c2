"""Damage to files, and what etab must make of it: shared by the tests of damaged files.

The result of reading a damaged file is an error of etab that names the file, or a valid reading.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import shutil
import signal
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.datasets.base import Source
from etab.errors import EtabError, EtabWarning
from etab.features import batches, entries
from etab.features.merged import MergedFiles
from etab.types import Kind

SECONDS = 5  # of processor time
WAIT = 20  # seconds of the clock, on a machine that others use too
MEMORY = 1 << 30


Damage = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Subject:
    """A file to damage: ``build`` writes a tree and names the file, ``read`` reads it through etab to a comparable value.

    exact: a reading of a damaged file must equal the one before. names: other files whose name an error may hold.
    """

    name: str
    build: Callable[[Path], Path]
    read: Callable[[Path], Any]
    exact: bool = False
    names: tuple[str, ...] = ()


def everything_of(kind: type[Source], up: int) -> Callable[[Path], list[Any]]:
    """Build a reader of all records and answers of a source; frames are not read."""

    def read(path: Path) -> list[Any]:
        source = kind(path.parents[up])
        answered: list[Any] = []
        for record in source.records():
            assert all(
                source.root in Path(os.path.normpath(source.root / f)).parents
                for f in record.files.values()
            ), "climbs out"
            for target in source.card.targets:
                answers = source.answers(record, target)
                bad = (
                    np.isinf if target.kind is Kind.KEYPOINTS else lambda x: ~np.isfinite(x)
                )  # no point: NaN
                assert not any(bad(np.asarray(a.value, float)).any() for a in answers)
                answered.append(
                    (
                        record.id,
                        target.name,
                        [(a.at, repr(np.asarray(a.value).tolist())) for a in answers],
                    )
                )
        return answered

    return read


def _cut(share: float) -> Damage:
    return lambda raw, rng: raw[: int(share * len(raw)) if share > 0 else int(share)]


def _flip(low: float, high: float, bits: int = 1) -> Damage:
    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        out = bytearray(raw)
        for at in rng.integers(int(low * len(raw)), max(int(high * len(raw)), 1), bits):
            out[int(at)] ^= 1 << int(rng.integers(8))
        return bytes(out)

    return damage


def _over(fill: int, low: float) -> Damage:
    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        at, n = int(low * len(raw)), max(4, len(raw) // 20)
        return raw[:at] + bytes([fill]) * n + raw[at + n :]

    return damage


def _lost(low: float) -> Damage:
    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        at = int(low * len(raw))
        return raw[:at] + raw[at + max(3, len(raw) // 30) :]

    return damage


GENERAL: dict[str, Damage] = {
    "empty": lambda raw, rng: b"",
    "one byte": lambda raw, rng: raw[:1],
    "forty bytes": lambda raw, rng: raw[:40],
    "a third": _cut(0.33),
    "half": _cut(0.5),
    "nine tenths": _cut(0.9),
    "all but one": _cut(-1),
    "bit in the head": _flip(0, 0.02),
    "bit early": _flip(0.02, 0.3),
    "bit in the middle": _flip(0.3, 0.7),
    "bit late": _flip(0.7, 1),
    "fifty bits": _flip(0, 1, 50),
    "ones at the start": _over(255, 0),
    "ones early": _over(255, 0.03),
    "ones in the middle": _over(255, 0.5),
    "zeros at the start": _over(0, 0),
    "zeros early": _over(0, 0.03),
    "zeros late": _over(0, 0.9),
    "lost bytes": _lost(0.4),
    "noise": lambda raw, rng: bytes(rng.integers(0, 256, len(raw), dtype=np.uint8)),
    "noise behind": lambda raw, rng: raw + bytes(rng.integers(0, 256, 500, dtype=np.uint8)),
    "text": lambda raw, rng: b"<html>404 not value</html>",
    "twice": lambda raw, rng: raw + raw,
}


def put(at: int, form: str, *values: int) -> Damage:
    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        out = bytearray(raw)
        struct.pack_into(form, out, at, *values)
        return bytes(out)

    return damage


def put_behind(mark: bytes, skip: int, form: str, *values: int) -> Damage:
    """Overwrite numbers ``skip`` bytes after the first ``mark``."""
    return lambda raw, rng: put(raw.index(mark) + skip, form, *values)(raw, rng)


def swap(old: str, new: str) -> Damage:
    def damage(raw: bytes, rng: np.random.Generator) -> bytes:
        assert old.encode() in raw
        return raw.replace(old.encode(), new.encode(), 1)

    return damage


def cases(
    subjects: Sequence[Subject], special: Mapping[str, Mapping[str, Damage]]
) -> Iterator[Any]:
    """Every damage of every subject; each fifth one is quick enough, and telling enough, for every run."""
    number = 0
    for subject in subjects:
        damages = {**GENERAL, **special.get(subject.name, {})}
        for name, damage in damages.items():
            quick = number % 5 == 0 or name in ("terabytes", "climbs out", "empty")
            marks = () if quick else (pytest.mark.slow,)
            yield pytest.param(subject, damage, id=f"{subject.name}-{name}", marks=marks)
            number += 1


# --- what is no file, or none that can be read whole ---


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _nowhere(path: Path) -> None:
    path.symlink_to("no-such-file")


def _sparse(path: Path) -> None:
    """Ten gigabytes that take no room on the disk."""
    with path.open("wb") as file:
        file.truncate(10 << 30)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "sparse": _sparse,
    "pipe": _pipe,
    "device": _device,
    "folder": _folder,
    "circle": _circle,
    "nowhere": _nowhere,
}


class Late(BaseException):
    """No OSError, as TimeoutError is: no reader may take it for a failing disk."""


@contextmanager
def limits() -> Iterator[None]:
    """No more than 1 GiB of new memory, 5 s of computing and 20 s of waiting, while this is entered."""

    def late(*_: object) -> None:
        raise Late(f"not done after {SECONDS} s of computing or {WAIT} s")

    faulthandler.dump_traceback_later(
        3 * WAIT, exit=True
    )  # compiled code that never comes back ends the process
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    prof = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGPROF, prof)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        faulthandler.cancel_dump_traceback_later()


def same(one: Any, other: Any) -> bool:
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else bool(one == other)


def attempt(subject: Subject, damage: Damage, built: tuple[Path, Path, Any], place: Path) -> None:
    """Damage a copy of what was built and read it under the limits: a clear error that names it, or a right reading."""
    folder, sound, before = built
    shutil.copytree(folder, place / "copy")
    path = place / "copy" / sound.relative_to(folder)
    raw = path.read_bytes()
    path.write_bytes(damage(raw, np.random.default_rng([len(raw), len(subject.name)])))
    with limits(), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=EtabWarning)
        try:
            value = subject.read(path)
        except EtabError as error:
            message = str(error)
            assert any(name in message for name in (path.name, *subject.names)), (
                f"the error names no file: {message}"
            )
            assert len(message) < 2000, "the error is as long as the file"
            return
    if subject.exact and value is not None:
        assert same(value, before), "damage was read as something else"


def text_file(name: str, text: str) -> Callable[[Path], Path]:
    """Write a text file of this name into a folder."""

    def build(folder: Path) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        return folder / name

    return build


def unfinished_entry(folder: Path) -> MergedFiles:
    """Write an entry of eight rows, four of which were copied from a shard."""

    def compute(_: Path) -> batches.Batches:
        collected = batches.Batches(4, None)
        collected.pooled = {"last/mean": np.ones((4, 8), np.float32)}
        return collected

    place = folder / "k.shards"
    entries.write_entry(place / "0-4", compute, entries.load_batches)
    files = MergedFiles(place)
    files.copy(place / "0-4", files.note(0, 4), np.arange(4), 8)
    return files
