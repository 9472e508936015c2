"""Masks beside a record: what is missing, foreign, damaged or a bomb puts the result aside."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.leaderboard.admission.submission import check_submission
from etab.leaderboard.suites import Suite
from etab.results import Result
from etab.results.masks import (
    SAMPLE,
    mask_digest,
    masks_path,
    packed_masks,
    read_masks,
    sample_rows,
)
from etab.types import Array
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import STRANGER, edit, stranger

MASKS = Suite(name="masks", version=1, tasks=("a0-A4-C",))
Hostile = Callable[[Path], object]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an honest folder, by path."""
    folder = tmp_path_factory.mktemp("honest")
    folders._rename(folders.PUBLISHED / "results", folder, "a0-A4-C", "vits14_saliency")
    folders.add_masks(folder)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def folder(honest: dict[str, bytes], tmp_path: Path) -> Path:
    for name, content in honest.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def _masks(folder: Path) -> Path:
    return masks_path(stranger(folder, "a0-A4-C"), "all")


def _arrays(folder: Path) -> dict[str, Array]:
    with np.load(_masks(folder)) as content:
        return {name: content[name] for name in content.files}


def _with(**changes: Callable[[dict[str, Array]], Any]) -> Hostile:
    """Replace arrays of the file, or add some."""

    def hostile(folder: Path) -> None:
        arrays = _arrays(folder)
        new = {name: change(arrays) for name, change in changes.items()}
        np.savez_compressed(_masks(folder), **{**arrays, **new})

    return hostile


def _without_end(folder: Path) -> None:
    _masks(folder).write_bytes(_masks(folder).read_bytes()[:-30])


def _bit_flipped(folder: Path) -> None:
    content = bytearray(_masks(folder).read_bytes())
    content[len(content) // 2] ^= 16
    _masks(folder).write_bytes(bytes(content))


def _one_pixel(folder: Path) -> None:
    masks = list(read_masks(_masks(folder), len(_arrays(folder)["box"])))
    masks[7][0, 0] = not masks[7][0, 0]
    _masks(folder).write_bytes(packed_masks(masks))


def _two_swapped(folder: Path) -> None:
    masks = list(read_masks(_masks(folder), len(_arrays(folder)["box"])))
    digests = [mask_digest(mask) for mask in masks]
    other = next(i for i, digest in enumerate(digests) if digest != digests[0])
    masks[0], masks[other] = masks[other], masks[0]
    _masks(folder).write_bytes(packed_masks(masks))


def _one_less(folder: Path) -> None:
    masks = list(read_masks(_masks(folder), len(_arrays(folder)["box"])))
    _masks(folder).write_bytes(packed_masks(masks[:-1]))


def _rezipped(folder: Path, **members: bytes) -> None:
    with zipfile.ZipFile(_masks(folder)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("_", "."): data for name, data in members.items()}
    with zipfile.ZipFile(_masks(folder), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def _zeros_to_the_end_of_memory(folder: Path) -> None:
    """Two gigabytes of zeros in two megabytes, behind an honest header."""
    with zipfile.ZipFile(_masks(folder)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    honest = packer.compress(content["bits.npy"]) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    with zipfile.ZipFile(_masks(folder), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("shape.npy", content["shape.npy"])
        archive.writestr("box.npy", content["box.npy"])
        packed = honest + 2048 * zeros + packer.flush()
        archive.writestr("bits.npy", packed, zipfile.ZIP_STORED)
        listed = archive.getinfo("bits.npy")
        listed.compress_type = zipfile.ZIP_DEFLATED
        listed.file_size = len(content["bits.npy"]) + (2048 << 20)


def _header_of_a_petabyte(folder: Path) -> None:
    out = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 50,)}
    np.lib.format.write_array_header_1_0(out, header)
    _rezipped(folder, bits_npy=out.getvalue() + bytes(100))


def _objects(folder: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    _rezipped(folder, bits_npy=out.getvalue())


def _many_members(folder: Path) -> None:
    with zipfile.ZipFile(_masks(folder), "a") as archive:
        for i in range(1000):
            archive.writestr(f"{i}.npy", b"")


def _encrypted(folder: Path) -> None:
    content = bytearray(_masks(folder).read_bytes())
    start = content.rindex(b"PK\x01\x02")
    content[start + 8] |= 1
    _masks(folder).write_bytes(bytes(content))


def _of_another_name(folder: Path) -> None:
    with zipfile.ZipFile(_masks(folder)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(_masks(folder), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(f"../{name}", data)


def _compressed_otherwise(folder: Path) -> None:
    with zipfile.ZipFile(_masks(folder)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(_masks(folder), "w", zipfile.ZIP_LZMA) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def _link(folder: Path) -> None:
    target = folder / "elsewhere.npz"
    _masks(folder).rename(target)
    _masks(folder).symlink_to(target)


def _pipe(folder: Path) -> None:
    _masks(folder).unlink()
    os.mkfifo(_masks(folder))


def _as_a_folder(folder: Path) -> None:
    _masks(folder).unlink()
    _masks(folder).mkdir()


def _too_large(folder: Path) -> None:
    with _masks(folder).open("r+b") as handle:
        handle.truncate((64 << 20) + 1)


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(stranger(folder, "a0-A4-C").read_text())["masks"]
    return facts


def _no_digest(folder: Path) -> None:
    edit(stranger(folder, "a0-A4-C"), masks={})


def _another_digest(folder: Path) -> None:
    edit(stranger(folder, "a0-A4-C"), masks={**_facts(folder), "sha256": "0" * 64})


def _sample_of_own_choice(folder: Path) -> None:
    facts = _facts(folder)
    facts["sample"] = [*facts["sample"][1:], ["patient0001_4CH#0", 0, "0" * 64]]
    edit(stranger(folder, "a0-A4-C"), masks=facts)


def _sample_of_one(folder: Path) -> None:
    facts = _facts(folder)
    edit(stranger(folder, "a0-A4-C"), masks={**facts, "sample": facts["sample"][:1]})


def _another_mask_in_the_sample(folder: Path) -> None:
    facts = _facts(folder)
    facts["sample"][3][2] = "0" * 64
    edit(stranger(folder, "a0-A4-C"), masks=facts)


def _facts_of_no_shape(folder: Path) -> None:
    edit(stranger(folder, "a0-A4-C"), masks={"sha256": "0" * 64, "sample": [[1, 2]]})


def _empty_mask_that_overlaps(folder: Path) -> None:
    path = stranger(folder, "a0-A4-C")
    masks = list(read_masks(_masks(folder), len(_arrays(folder)["box"])))
    masks[5][:] = False
    _masks(folder).write_bytes(packed_masks(masks))
    result = Result.load(path)
    table = result.predictions(folder)
    facts = folders.mask_facts(table.items, table.repeats, [mask_digest(m) for m in masks])
    edit(path, masks=facts)


HOSTILE: dict[str, tuple[Hostile, str]] = {
    "missing": (lambda folder: _masks(folder).unlink(), "is missing: a submission brings"),
    "cut off": (_without_end, "does not end as a zip file does"),
    "a flipped bit": (_bit_flipped, "is damaged"),
    "empty file": (lambda folder: _masks(folder).write_bytes(b""), "is not a file of masks"),
    "text": (lambda folder: _masks(folder).write_text("masks\n" * 99), "is not a file of masks"),
    "one pixel": (_one_pixel, "sha256 differs"),
    "two swapped": (_two_swapped, "sha256 differs"),
    "one less": (_one_less, r"wanted uint16 \(\d+, 2\)"),
    "zeros to the end of memory": (_zeros_to_the_end_of_memory, "longer than its masks"),
    "a header of a petabyte": (_header_of_a_petabyte, "1125899906842624"),
    "pickled objects": (_objects, "bits.npy is object"),
    "a thousand members": (_many_members, "1003 members"),
    "one member more": (_with(more=lambda arrays: arrays["box"]), "4 members"),
    "encrypted": (_encrypted, "damaged"),
    "members of other names": (_of_another_name, "its members are not"),
    "compressed otherwise": (_compressed_otherwise, "otherwise than by deflate"),
    "a mask of no size": (_with(shape=lambda arrays: 0 * arrays["shape"]), "a side of 0 pixels"),
    "huge masks": (
        _with(shape=lambda arrays: np.full_like(arrays["shape"], 65535)),
        "a side of 65535 pixels",
    ),
    "many large masks": (
        _with(shape=lambda arrays: np.full_like(arrays["shape"], 4096)),
        "pixels together",
    ),
    "a box outside": (_with(box=lambda arrays: arrays["box"] + 60), "outside of its mask"),
    "bits of other boxes": (_with(bits=lambda arrays: arrays["bits"][:-1]), "wanted uint8"),
    "floats": (_with(bits=lambda arrays: arrays["bits"].astype(float)), "bits.npy is float64"),
    "a link": (_link, "must not be read: it is a link"),
    "a pipe": (_pipe, "must not be read: it is a folder, pipe or device"),
    "a folder": (_as_a_folder, "must not be read: it is a folder, pipe or device"),
    "too large": (_too_large, "larger than 64 MiB"),
    "no digest": (_no_digest, "states no digest"),
    "another digest": (_another_digest, "sha256 differs"),
    "a sample of one's own choice": (_sample_of_own_choice, "that the rule selects"),
    "a sample of one": (_sample_of_one, "that the rule selects"),
    "another mask in the sample": (_another_mask_in_the_sample, "another sha256 than the record"),
    "facts of no shape": (_facts_of_no_shape, "masks is"),
    "an empty mask that overlaps": (_empty_mask_that_overlaps, "is empty, and its dice is"),
}


def test_honest_masks_are_accepted(folder: Path) -> None:
    submission = check_submission(folder, MASKS, protocol="cv5")
    assert submission.complete == (STRANGER,)
    assert [str(finding) for finding in submission.refused] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_masks_are_refused(name: str, folder: Path) -> None:
    hostile, reason = HOSTILE[name]
    hostile(folder)
    submission = check_submission(folder, MASKS, protocol="cv5")
    assert not submission.accepted
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(" ".join(str(finding) for finding in submission.refused))


def test_a_sample_beside_all_masks_is_checked_too(folder: Path) -> None:
    masks = [np.eye(5, dtype=bool)] * SAMPLE
    masks_path(stranger(folder, "a0-A4-C"), "sample").write_bytes(packed_masks(masks))
    (finding,) = check_submission(folder, MASKS, protocol="cv5").refused
    assert "has another sha256 than the record states" in finding.reason


def test_masks_of_a_task_without_masks_are_refused(tmp_path: Path) -> None:
    folders._rename(folders.PUBLISHED / "results", tmp_path, "b0-A4-C", "vits14_saliency")
    path = stranger(tmp_path, "b0-A4-C")
    masks_path(path, "all").write_bytes(packed_masks([np.eye(3, dtype=bool)]))
    suite = Suite(name="values", version=1, tasks=("b0-A4-C",))
    (finding,) = check_submission(tmp_path, suite, protocol="cv5").refused
    assert "it has masks beside it; a cell of value has none" in finding.reason


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (40, 17), (7, 256)])
def test_a_file_gives_its_masks_back(shape: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < share for share in (0, 0.02, 0.5, 1)]
    path = tmp_path / "x.masks.npz"
    path.write_bytes(packed_masks(masks))
    for mask, again in zip(masks, read_masks(path, 4), strict=True):
        np.testing.assert_array_equal(mask, again)


def test_masks_of_different_sizes_share_a_file(tmp_path: Path) -> None:
    masks = [np.ones((3, 4), dtype=bool), np.eye(9, dtype=bool), np.zeros((2, 2), dtype=bool)]
    path = tmp_path / "x.masks.npz"
    path.write_bytes(packed_masks(masks))
    assert [mask.tolist() for mask in read_masks(path, 3)] == [mask.tolist() for mask in masks]


def test_the_sample_is_the_same_whatever_the_order() -> None:
    items = [f"p{i}" for i in range(100)]
    repeats = [0] * 100
    forward = {items[i] for i in sample_rows(items, repeats)}
    backward = {items[::-1][i] for i in sample_rows(items[::-1], repeats)}
    assert forward == backward
    assert len(forward) == SAMPLE
