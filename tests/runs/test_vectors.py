"""Vectors made elsewhere: the keys that are needed, the files, and what is wrong with bad ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import etab
from etab import backbones
from etab.backbones.own.vectors import read_vectors, recording_of
from etab.cli.vectors import keys_of, write_keys
from etab.errors import (
    CorruptFileError,
    EtabError,
    IncompatibleError,
    UnsupportedOptionError,
    WeightsError,
)
from etab.features.supplied import vector_keys
from etab.leaderboard.board import VECTORS, kind_of
from etab.runs.run import plan
from etab.types import Array
from tests import commands
from tests.datasets.own_tables import describe, pictures, write_table

TASKS = {"camus": "b0-A4-C", "echonet": "b6-A4-E", "circor": "e1-AL-D"}


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus", "echonet", "circor"])


def keys(trees: Path, dataset: str = "camus", task: str = "b0-A4-C") -> list[str]:
    return [key for key, _ in keys_of(task, trees / dataset)]


def vectors(names: list[str], width: int = 4) -> Array:
    return np.random.default_rng(0).normal(size=(len(names), width)).astype(np.float32)


def npz(file: Path, names: list[str], values: Array) -> Path:
    np.savez(file, keys=np.array(names), vector=values)
    return file


def safetensors(file: Path, names: list[str], values: Array) -> Path:
    save_file({"vector": values}, file, metadata={"keys": json.dumps(names)})
    return file


def parquet(file: Path, names: list[str], values: Array) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    table = pyarrow.table({"key": names, "vector": [list(map(float, row)) for row in values]})
    writer.write_table(table, file)
    return file


WRITERS: dict[str, Callable[[Path, list[str], Array], Path]] = {
    ".npz": npz,
    ".safetensors": safetensors,
    ".parquet": parquet,
}


def value(file: Path, trees: Path) -> float:
    score = etab.evaluate(f"vectors:{file}", tasks="b0-A4-C", root=trees / "camus", protocol="cv3")
    return float(score.tasks[0]["value"])


@pytest.mark.slow
def test_every_form_gives_the_same_score_in_any_order(trees: Path, tmp_path: Path) -> None:
    names = keys(trees)
    values = vectors(names)
    order = np.random.default_rng(1).permutation(len(names))
    scores = [value(npz(tmp_path / "a.npz", names, values), trees)]
    for ending, write in WRITERS.items():
        shuffled = [names[i] for i in order]
        scores.append(value(write(tmp_path / f"shuffled{ending}", shuffled, values[order]), trees))
    assert np.ptp(scores) == 0


def test_equal_vectors_are_one_backbone_in_any_file(tmp_path: Path) -> None:
    """Boards count entries by their digest, so that copies of an entry cost nobody a verdict."""
    pytest.importorskip("pyarrow")
    names = [f"camus/patient{i}" for i in range(9)]
    values = vectors(names)
    digests = [read_vectors(npz(tmp_path / "a.npz", names, values)).digest()]
    order = np.random.default_rng(1).permutation(len(names))
    shuffled = [names[i] for i in order]
    for ending, write in WRITERS.items():
        file = write(tmp_path / f"shuffled{ending}", shuffled, values[order])
        digests.append(read_vectors(file).digest())
    assert len(set(digests)) == 1
    np.savez(tmp_path / "layer.npz", keys=np.array(names), other=values)
    others = [
        npz(tmp_path / "values.npz", names, values + 1e-6),
        npz(tmp_path / "keys.npz", [*names[1:], names[0]], values),
        npz(tmp_path / "fewer.npz", names[:-1], values[:-1]),
        tmp_path / "layer.npz",
    ]
    assert len({*digests, *(read_vectors(file).digest() for file in others)}) == 5


def test_vectors_of_a_backbone_score_as_the_backbone(trees: Path, tmp_path: Path) -> None:
    """The same numbers, computed by a function or supplied, give the same score."""
    from etab.runs.data import Data
    from etab.runs.run import Settings

    def level(x: Any) -> Any:
        return x.mean(1).flatten(1)[:, ::64]

    data = Data(Settings(root=trees / "camus"))
    source = data.source("camus")
    card = etab.backbone(level, name="level", input=etab.Frames(size=64))
    from etab.features.frames import annotated_frames, frame_features

    frames = annotated_frames(source)
    names = vector_keys(source, frames)
    features = frame_features(source, frames, card, cache=None).features.pooled["out/vector"]
    assert len(features) == len(names)
    score = etab.evaluate(card, tasks="b0-A4-C", root=trees / "camus", protocol="cv3")
    assert value(npz(tmp_path / "v.npz", names, features), trees) == pytest.approx(
        score.tasks[0]["value"], abs=1e-9
    )


@pytest.mark.parametrize("dataset", TASKS)
def test_frames_clips_and_windows_have_keys(trees: Path, tmp_path: Path, dataset: str) -> None:
    task = TASKS[dataset]
    names = keys(trees, dataset, task)
    assert len(set(names)) == len(names)
    assert all(name.startswith(f"{dataset}/") for name in names)
    file = npz(tmp_path / "v.npz", names, vectors(names))
    score = etab.evaluate(f"vectors:{file}", tasks=task, root=trees / dataset, protocol="cv3")
    assert np.isfinite(score.value)
    by_recording = list(dict.fromkeys(name.partition("#")[0] for name in names))
    file = npz(tmp_path / "r.npz", by_recording, vectors(by_recording))
    score = etab.evaluate(f"vectors:{file}", tasks=task, root=trees / dataset, protocol="cv3")
    assert np.isfinite(score.value)


def test_each_dataset_of_a_file_has_its_own_form(trees: Path, tmp_path: Path) -> None:
    """Frames of CAMUS by recording, and windows of CirCor one by one, in one file."""
    of_frames = keys(trees)
    by_recording = list(dict.fromkeys(name.partition("#")[0] for name in of_frames))
    names = [*by_recording, *keys(trees, "circor", TASKS["circor"])]
    file = npz(tmp_path / "v.npz", names, vectors(names))
    for dataset in ("camus", "circor"):
        score = etab.evaluate(
            f"vectors:{file}", tasks=TASKS[dataset], root=trees / dataset, protocol="cv3"
        )
        assert np.isfinite(score.value)


def test_the_list_of_keys_is_a_table(trees: Path, tmp_path: Path) -> None:
    listed = keys_of("b0-A4-C", trees / "camus")
    write_keys(listed, tmp_path / "keys.csv")
    with (tmp_path / "keys.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["key"], row["recording"]) for row in rows] == listed
    assert rows[0]["key"].partition("#")[0] == rows[0]["recording"]


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("case", ["nan", "twice", "rows"])
def test_bad_vectors_are_named(tmp_path: Path, ending: str, case: str) -> None:
    names = [f"camus/p{i}#0" for i in range(5)]
    values = vectors(names)
    match = ""
    if case == "nan":
        values[3, 1] = np.nan
        match = r"NaN or infinity in 1 vector of the layer 'vector': camus/p3#0"
    if case == "twice":
        names[4] = names[1]
        match = r"keys that occur more than once: camus/p1#0"
    if case == "rows":
        if ending == ".parquet":
            pytest.skip("a table has columns of one length")
        names = names[:4]
        match = r"has 5 rows for 4 keys"
    with pytest.raises(CorruptFileError, match=match):
        read_vectors(WRITERS[ending](tmp_path / f"v{ending}", names, values))


def test_a_task_needs_the_keys_of_its_own_rows_alone(trees: Path, tmp_path: Path) -> None:
    """A family embeds both views; the vectors of one are enough for its tasks."""
    names = keys(trees)
    both = [*names, *keys(trees, task="b0-A2-C")]
    assert names
    assert all("_4CH#" in name for name in names)
    values = vectors(both)
    of_one = npz(tmp_path / "one.npz", names, values[: len(names)])
    assert value(of_one, trees) == value(npz(tmp_path / "both.npz", both, values), trees)
    with pytest.raises(EtabError, match=rf"lacks {len(names)} of {len(both)} keys of camus: .*2CH"):
        etab.evaluate(f"vectors:{of_one}", tasks="b0-AX-C", root=trees / "camus", protocol="cv3")


def test_missing_and_extra_keys_are_named(trees: Path, tmp_path: Path) -> None:
    names = keys(trees)
    less = npz(tmp_path / "less.npz", names[2:], vectors(names[2:]))
    with pytest.raises(EtabError, match=rf"lacks 2 of {len(names)} keys of camus: {names[0]}"):
        value(less, trees)
    for extra in ("camus/nobody#0", f"{names[0].partition('#')[0]}#9999"):
        more = [*names, extra]
        file = npz(tmp_path / "more.npz", more, vectors(more))
        with pytest.raises(EtabError, match=f"holds 1 key that camus does not have: {extra}"):
            value(file, trees)
    other = [*names, "echonet/0X1#3"]  # of another dataset
    assert np.isfinite(value(npz(tmp_path / "other.npz", other, vectors(other)), trees))


def test_files_that_are_no_vectors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no file of vectors .*`etab vectors keys"):
        backbones.card(f"vectors:{tmp_path / 'absent.npz'}")
    with pytest.raises(UnsupportedOptionError, match=r"ends with .npz, .parquet, .safetensors"):
        backbones.card("vectors:table.csv")
    with pytest.raises(UnsupportedOptionError, match="no random twin"):
        backbones.card("random/vectors:table.npz")
    junk = tmp_path / "junk.npz"
    junk.write_bytes(b"hello")
    with pytest.raises(CorruptFileError, match="begins with b'hello'; wanted an npz file"):
        read_vectors(junk)
    np.savez(tmp_path / "nokeys.npz", vector=np.zeros((2, 2)))
    with pytest.raises(CorruptFileError, match="vectors without keys cannot be matched"):
        read_vectors(tmp_path / "nokeys.npz")
    np.savez(tmp_path / "flat.npz", keys=np.array(["a", "b"]), vector=np.zeros(2))
    with pytest.raises(CorruptFileError, match=r"has shape \(2,\) of float64; wanted numbers"):
        read_vectors(tmp_path / "flat.npz")


def test_the_board_marks_supplied_vectors(trees: Path, tmp_path: Path) -> None:
    names = keys(trees)
    file = npz(tmp_path / "v.npz", names, vectors(names))
    score = etab.evaluate(f"vectors:{file}", tasks="b0-A4-C", root=trees / "camus", protocol="cv3")
    assert kind_of(score.backbone, score.results) == VECTORS == "vectors supplied"
    assert kind_of("a name of their own", score.results) == VECTORS


def test_vectors_have_no_maps_and_no_states(tmp_path: Path) -> None:
    file = npz(tmp_path / "v.npz", ["camus/p#0"], np.ones((1, 2), np.float32))
    card = backbones.card(f"vectors:{file}")
    with pytest.raises(IncompatibleError, match="needs feature maps"):
        plan("a0-A4-C", [card])
    with pytest.raises(IncompatibleError, match="no layers over time"):
        plan("e0", [card])


BAD_FILES: dict[str, tuple[str, Callable[[Any, Any, Path], Any], str]] = {
    "keys are Python objects": (
        ".npz",
        lambda names, x, file: np.savez(file, keys=np.array(names, object), v=x),
        "it holds Python objects; write keys as text",
    ),
    "one array": (".npz", lambda names, x, file: _save_plain(file, x), "is one array"),
    "cut": (
        ".npz",
        lambda names, x, file: file.write_bytes(_saved(names, x, file)[:-300]),
        r"cannot be read as \.npz",
    ),
    "keys are a dictionary": (
        ".safetensors",
        lambda names, x, file: save_file({"v": x}, file, {"keys": json.dumps({names[0]: 1})}),
        "'keys' is not a JSON list",
    ),
    "too large for float32": (
        ".npz",
        lambda names, x, file: np.savez(file, keys=names, v=x.astype(float) * 1e300),
        "NaN or infinity in",
    ),
    "texts among numbers": (
        ".parquet",
        lambda names, x, file: _wide(file, names, x, sex=["m"] * len(names)),
        "the column 'sex' holds no numbers",
    ),
    "a label among fractions": (
        ".parquet",
        lambda names, x, file: _wide(file, names, x, EF=list(range(len(names)))),
        r"columns of whole numbers \(EF\) beside columns of fractions",
    ),
    "a label of fractions among fractions": (
        ".parquet",
        lambda names, x, file: _wide(file, names, x, EF=[50.5] * len(names)),
        r"columns with other names \(EF\) beside numbered ones such as 'c0'",
    ),
    "a label beside a matrix": (
        ".npz",
        lambda names, x, file: np.savez(file, keys=names, v=x, EF=x[:, :1]),
        r"layers of a single number \(EF\) beside wider ones",
    ),
    "a vector is missing": (
        ".parquet",
        lambda names, x, file: _lists(file, names, [None, *map(list, x[1:])]),
        "no vector, or an empty number, in 1 row of the column 'v', first row 1",
    ),
    "a label beside vectors": (
        ".parquet",
        lambda names, x, file: _lists(file, names, list(map(list, x)), EF=[50.0] * len(names)),
        r"columns of single numbers \(EF\) beside the column of vectors 'v'",
    ),
    "a key is missing": (
        ".parquet",
        lambda names, x, file: _lists(file, [*names[:3], None, " "], list(map(list, x))),
        "rows without a key: 2, first row 4",
    ),
    "a text": (
        ".npz",
        lambda names, x, file: file.write_text("hello"),
        r"begins with b'hello'; wanted an npz file",
    ),
    "nothing": (".npz", lambda names, x, file: file.touch(), "no vectors: it is an empty file"),
    "a pointer of Git LFS": (
        ".safetensors",
        lambda names, x, file: file.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "holds no vectors: it is a Git LFS pointer",
    ),
    "a layer of two lines": (
        ".npz",
        lambda names, x, file: np.savez(file, keys=names, **{"a\nb": x}),
        r"a layer is called 'a\\nb'; wanted 1 to 80 letters",
    ),
    "a layer without a name": (
        ".npz",
        lambda names, x, file: np.savez(file, keys=names, **{"": x}),
        "a layer is called ''",
    ),
    "keys by another name": (
        ".npz",
        lambda names, x, file: np.savez(file, Keys=names, v=x),
        "has no array 'keys'; it has Keys, v: vectors without keys",
    ),
}


def _save_plain(file: Path, values: Array) -> None:
    with file.open("wb") as handle:
        np.save(handle, values)


def _saved(names: list[str], values: Array, file: Path) -> bytes:
    np.savez(file, keys=names, v=values)
    return file.read_bytes()


def _wide(file: Path, names: list[str], values: Array, **more: list[Any]) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    columns = {f"c{i}": values[:, i].astype(float) for i in range(values.shape[1])}
    pandas.DataFrame({"key": names, **columns, **more}).to_parquet(file)


def _lists(file: Path, names: list[Any], rows: list[Any], **more: Any) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"key": names, "v": rows, **more}).to_parquet(file)


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_would_give_other_vectors_are_refused(case: str, tmp_path: Path) -> None:
    ending, write, problem = BAD_FILES[case]
    names = [f"camus/p{i}#0" for i in range(5)]
    file = tmp_path / f"v{ending}"
    write(names, vectors(names), file)
    with pytest.raises(CorruptFileError, match=problem):
        read_vectors(file)


def test_vectors_beside_the_list_of_keys_are_read_after_pandas_has_sorted_them(
    tmp_path: Path,
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    names = [f"camus/p{i}#0" for i in range(5)]
    values = vectors(names)
    columns = {f"f{i}": values[:, i].astype(float) for i in range(values.shape[1])}
    listed = {"key": names, "recording": [recording_of(name) for name in names]}
    table = pandas.DataFrame({**listed, **columns})
    table.sample(frac=1, random_state=0).to_parquet(tmp_path / "v.parquet")
    read = read_vectors(tmp_path / "v.parquet")
    plain = read_vectors(npz(tmp_path / "v.npz", names, values.astype(float)))
    assert read.digest() == plain.digest()
    table["recording"] = table["recording"].tolist()[::-1]
    table.to_parquet(tmp_path / "sorted.parquet")
    with pytest.raises(CorruptFileError, match="as if a column had been sorted alone"):
        read_vectors(tmp_path / "sorted.parquet")


def test_keys_as_bytes_or_with_spaces_are_the_same_keys(tmp_path: Path) -> None:
    names = [f"camus/p{i}#0" for i in range(5)]
    np.savez(tmp_path / "b.npz", keys=np.array(names, "S"), v=vectors(names).astype(np.float16))
    np.savez(tmp_path / "s.npz", keys=[f" {name} " for name in names], v=vectors(names))
    for name in ("b", "s"):
        assert list(read_vectors(tmp_path / f"{name}.npz").rows) == names


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float64", "int64"])
def test_safetensors_of_any_kind_of_number(dtype: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_tensors

    values = torch.tensor([[1.0, 2.0], [-4.0, 0.5]]).to(getattr(torch, dtype))
    file = tmp_path / "v.safetensors"
    save_tensors({"v": values}, file, {"keys": json.dumps(["camus/a", "camus/b"])})
    assert np.array_equal(read_vectors(file).layers["v"], values.to(torch.float32).numpy())


@pytest.mark.parametrize(
    "form",
    ["vectors:{}.npz", "onnx:{}.onnx", "local:{}.pth@timm/resnet18", "local:{}.pth@echoprime"],
)
def test_names_that_lead_to_no_file_are_told_as_what_they_are(form: str, tmp_path: Path) -> None:
    file = tmp_path / "v"
    for ending in (".npz", ".onnx", ".pth"):
        (tmp_path / f"v{ending}").mkdir()
    with pytest.raises(CorruptFileError, match=r"is a folder; wanted an ordinary file"):
        backbones.card(form.format(file))
    with pytest.raises(CorruptFileError, match="cannot be read: File name too long"):
        backbones.card(form.format("n" * 5000))
    with pytest.raises(WeightsError, match=r"There is no .*absent"):
        backbones.card(form.format(tmp_path / "absent"))


@pytest.mark.parametrize("extra", ["Camus/patient0001_2CH#0", "patient0001_2CH"])
def test_keys_of_nobody_are_named(extra: str, trees: Path, tmp_path: Path) -> None:
    names = [*keys(trees), extra]
    with pytest.raises(EtabError, match=f"holds 1 key that camus does not have: {extra}"):
        value(npz(tmp_path / "v.npz", names, vectors(names)), trees)


def test_keys_of_a_table_of_ones_own(tmp_path: Path, forget_own_data: None) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=4))
    path = describe(tmp_path, '[labels.EF]\nkind = "value"\n')
    out = tmp_path / "keys.csv"
    ran = commands.etab("vectors", "keys", "--data", path, "--out", out)
    assert ran.returncode == 0, ran.stderr
    assert out.read_text().splitlines()[1] == "clinic/p000#0,clinic/p000"
    assert "--data clinic.toml" in commands.etab("vectors", "keys", "--out", out).stderr
    (tmp_path / "p003.png").rename(tmp_path / "a#1.png")
    rows = pictures(tmp_path, patients=3)
    write_table(tmp_path, [*rows, {**rows[0], "file": "a#1.png", "patient": "a"}])
    assert (
        "has a # in its id" in commands.etab("vectors", "keys", "--data", path, "--out", out).stderr
    )
