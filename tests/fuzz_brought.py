"""Further files that users bring, to be damaged: pictures, sounds, stores, networks and settings.

Each is small and sound, and is read as a command reads it.
"""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from etab.backbones.hub.described import describe
from etab.backbones.sound.formats import read_sound_weights
from etab.backbones.weights.containers import tflite
from etab.backbones.weights.formats import read_weights
from etab.challenges.scoring import read_answers, read_output
from etab.challenges.unpack import unpack_entry
from etab.datasets.echoxflow_tables import read_catalogue
from etab.datasets.own.files import read_frames, read_mask, read_sound
from etab.datasets.paths import candidate_folders
from etab.leaderboard.curves import read_curves
from etab.leaderboard.suites import suite_named
from etab.readers.video import read_video
from etab.readers.zarr_store import ZarrStore
from etab.results.states import read_kept_states
from etab.results.table_files import read_table_bytes
from etab.runs.failed_cells import failed_cells
from etab.runs.run_log import last_hour, read_lines
from etab.storage.claims import read_claim
from etab.tasks.lists import read_lists
from etab.training.checkpoints import read_checkpoint
from tests.damage import Subject, text_file

Build = Callable[[Path], Path]


# --- pictures, clips and sounds of one's own ---


def _picture(ending: str) -> Build:
    def build(folder: Path) -> Path:
        picture = np.random.default_rng(0).integers(0, 200, (40, 50)).astype(np.uint8)
        cv2.imwrite(str(folder / f"a{ending}"), picture)
        return folder / f"a{ending}"

    return build


def _clip(ending: str, codec: str) -> Build:
    def build(folder: Path) -> Path:
        import av

        # Of this file alone: one that a forked process finds in its parent has lost its threads.
        converter = av.video.reformatter.VideoReformatter()
        path = folder / f"v{ending}"
        with av.open(str(path), "w") as file:
            stream = file.add_stream(codec, rate=25)
            stream.width = stream.height = 48
            stream.pix_fmt = "yuv420p"
            for k in range(8):
                frame = av.VideoFrame.from_ndarray(np.full((48, 48), 20 * k, np.uint8), "gray")
                file.mux(stream.encode(converter.reformat(frame, format="yuv420p")))
            file.mux(stream.encode(None))
        return path

    return build


def _flac(folder: Path) -> Path:
    import av

    samples = np.random.default_rng(0).integers(-9000, 9000, (1, 4000)).astype(np.int16)
    with av.open(str(folder / "a.flac"), "w") as file:
        stream = file.add_stream("flac", rate=4000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 4000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return folder / "a.flac"


# --- stores of arrays ---


def _zarr_folder(name: str) -> Build:
    def build(folder: Path) -> Path:
        import zarr

        group = zarr.open_group(str(folder / "a.zarr"), mode="w")
        group.create_array("data/x", data=np.arange(60.0).reshape(3, 20), chunks=(2, 20))
        group.attrs.update({"fps": 30})
        return next(path for path in sorted((folder / "a.zarr").rglob(name)) if path.is_file())

    return build


def _zarr_shard(folder: Path) -> Path:
    """A file of three chunks and their index."""
    import zarr

    group = zarr.open_group(str(folder / "a.zarr"), mode="w")
    values = np.arange(60.0).reshape(3, 20)
    group.create_array("data/x", data=values, chunks=(1, 20), shards=(3, 20))
    return next(path for path in (folder / "a.zarr").rglob("0") if path.is_file())


def _zarr_zip(folder: Path) -> Path:
    first = _zarr_folder("zarr.json")(folder)
    root = next(parent for parent in first.parents if parent.name == "a.zarr")
    with zipfile.ZipFile(folder / "b.zarr.zip", "w") as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(root).as_posix())
    return folder / "b.zarr.zip"


def _read_zarr(path: Path) -> object:
    root = next((parent for parent in path.parents if parent.name == "a.zarr"), path)
    store = ZarrStore(root)
    return dict(store.attributes), store.shape("data/x"), store.array("data/x").sum()


_CATALOGUE = {
    "recordSet": [
        {
            "@id": "recordings",
            "data": [
                {
                    "recordings/exam_id": f"e{i}",
                    "recordings/recording_id": f"r{i}",
                    "recordings/zarr_path": f"r{i}.zarr",
                    "recordings/content_types": ["2d"],
                    "recordings/array_paths": ["data/2d"],
                }
                for i in range(3)
            ],
        },
        {
            "@id": "arrays",
            "data": [
                {
                    "arrays/recording_id": "r0",
                    "arrays/array_path": "data/2d",
                    "arrays/data_sha256": "0" * 64,
                }
            ],
        },
    ]
}


# --- networks ---


def _keras(folder: Path) -> Path:
    import h5py
    import torch  # noqa: F401  # loaded before memory is limited

    with h5py.File(folder / "w.h5", "w") as file:
        for block, n in enumerate((2, 2, 3, 3, 3), start=1):
            for i in range(n):
                suffix = f"_{i}" if i else ""
                group = file.create_group(f"block{block}/layers/conv2d{suffix}/vars")
                group["0"] = np.ones((3, 3, 3 if block == 1 and i == 0 else 2, 2), np.float32)
                group["1"] = np.ones(2, np.float32)
    return folder / "w.h5"


def _onnx(folder: Path) -> Path:
    """The encoder that is read from an ONNX file, in its names, with the smallest matrices."""
    import onnx
    import torch  # noqa: F401  # loaded before memory is limited

    top = "backbone."
    tensors = ["onnx::Reshape_1962", "onnx::Concat_1957", f"{top}embeddings.cls_token"]
    tensors += [f"{top}embeddings.patch_embeddings.projection.{end}" for end in ("weight", "bias")]
    tensors += [f"{top}layernorm.{end}" for end in ("weight", "bias")]
    matrices: dict[str, str] = {}
    for i in range(12):
        layer = f"{top}encoder.layer.{i}."
        node = f"/backbone/encoder/layer.{i}/"
        parts = [f"attention/attention/{part}" for part in ("query", "key", "value")]
        for part in (*parts, "attention/output/dense", "mlp/fc1", "mlp/fc2"):
            matrices[f"{node}{part}/MatMul"] = f"{layer}{part}"
            tensors.append(f"{layer}{part.replace('/', '.')}.bias")
        tensors += [f"{layer}layer_scale{k}.lambda1" for k in (1, 2)]
        tensors += [f"{layer}norm{k}.{end}" for k in (1, 2) for end in ("weight", "bias")]

    def tensor(name: str, shape: list[int]) -> object:
        return onnx.helper.make_tensor(
            name, onnx.TensorProto.FLOAT, shape, [1.0] * int(np.prod(shape))
        )

    values = [tensor(name, [1, 1, 2]) for name in tensors]
    values += [tensor(name, [2, 2]) for name in matrices.values()]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", matrix], [f"{name}_out"], name=name)
        for name, matrix in matrices.items()
    ]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph(nodes, "g", [x], [], values)
    onnx.save(onnx.helper.make_model(graph), str(folder / "w.onnx"))
    return folder / "w.onnx"


def _flat(out: bytearray, value: object) -> int:
    """Append a value of a FlatBuffer, and return where it is.

    A dict is a table of its fields, a list a vector of tables, a tuple a vector of int32.
    """
    if isinstance(value, dict):
        slots = max(value) + 1
        vtable = len(out)
        places = {number: 4 + 4 * i for i, number in enumerate(sorted(value))}
        out += struct.pack("<HH", 4 + 2 * slots, 4 + 4 * len(value))
        out += struct.pack(f"<{slots}H", *[places.get(number, 0) for number in range(slots)])
        table = len(out)
        numbers = [
            content if isinstance(content, int) else 0 for _, content in sorted(value.items())
        ]
        out += struct.pack(f"<i{len(value)}i", table - vtable, *numbers)
        for number, content in value.items():
            if not isinstance(content, int):
                _point(out, table + places[number], content)
        return table
    start = len(out)
    if isinstance(value, list):
        out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for i, content in enumerate(value):
            _point(out, start + 4 + 4 * i, content)
    elif isinstance(value, tuple):
        out += struct.pack(f"<I{len(value)}i", len(value), *value)
    else:
        assert isinstance(value, bytes)
        out += struct.pack("<I", len(value)) + value
    return start


def _point(out: bytearray, place: int, content: object) -> None:
    struct.pack_into("<I", out, place, _flat(out, content) - place)


def _tflite(folder: Path) -> Path:
    """A graph of one convolution with a kernel and a bias."""
    tensors: list[object] = [
        {0: (1, 4, 4, 1), 1: 0, 2: 0, 3: b"x"},
        {0: (2, 1, 1, 1), 1: 0, 2: 1, 3: b"kernel"},
        {0: (2,), 1: 0, 2: 2, 3: b"bias"},
        {0: (1, 4, 4, 2), 1: 0, 2: 0, 3: b"y"},
    ]
    graph = {0: tensors, 3: [{0: 0, 1: (0, 1, 2), 2: (3,)}]}
    values = np.arange(2, dtype="<f4").tobytes()
    buffers = [{0: b""}, {0: values}, {0: values}]
    model = {1: [{0: 3, 3: 3}], 2: [graph], 4: buffers}
    out = bytearray(b"\0\0\0\0TFL3")
    struct.pack_into("<I", out, 0, _flat(out, model))
    (folder / "w.tflite").write_bytes(bytes(out))
    return folder / "w.tflite"


def _read_tflite(path: Path) -> object:
    constants = tflite(path).weights(3)
    return [values.sum() for of_operator in constants for values in of_operator]


def _silero(folder: Path) -> Path:
    """The constants of the detector of speech that travels as ONNX, by their names."""
    import onnx
    import torch  # noqa: F401  # loaded before memory is limited

    names = [
        "_.encoder.0.reparam_conv.weight",
        "_.decoder.rnn.weight_ih",
        "_.decoder.decoder.2.bias",
    ]
    values = [
        onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [2, 2], [1.0] * 4) for name in names
    ]
    graph = onnx.helper.make_graph([], "g", [], [], values)
    onnx.save(onnx.helper.make_model(graph), str(folder / "s.onnx"))
    return folder / "s.onnx"


def _checkpoint(name: str) -> Build:
    def build(folder: Path) -> Path:
        import torch

        from etab.training.checkpoints import write_checkpoint

        write_checkpoint(folder / "c", {"progress": {"step": 3}}, {"w": torch.ones(8)})
        return next((folder / "c").glob(name))

    return build


_MODEL = json.dumps({"model_type": "vit", "hidden_size": 8, "image_size": 16})
_PROCESSOR = json.dumps(
    {
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "size": {"height": 16, "width": 16},
        "image_processor_type": "ViTImageProcessor",
    }
)


def _model_folder(name: str) -> Build:
    def build(folder: Path) -> Path:
        import transformers

        assert (
            transformers.AutoConfig is not None
        )  # it and torch are loaded before memory is limited
        assert transformers.AutoImageProcessor is not None
        (folder / "config.json").write_text(_MODEL)
        (folder / "preprocessor_config.json").write_text(_PROCESSOR)
        return folder / name

    return build


# --- settings and lists ---

_FOLDS_CSV = "id,part,fold\n" + "".join(
    f"p{i},{('train', 'test')[i % 2]},{i // 4}\n" for i in range(8)
)
_FOLDS_JSON = json.dumps({"folds": [{"name": "1", "train": ["p1", "p2"], "test": ["p3"]}]})
_SUITE = (
    'name = "mine"\nversion = 1\ntasks = ["a0-A4-C", "b0-A4-C"]\ntitle = "A title"\n'
    '[task_weights]\n"a0-A4-C" = 2.0\n[category_weights]\na = 0.5\n'
)


def _read_paths(path: Path) -> object:
    return list(candidate_folders("camus", env={"ETAB_PATHS": str(path)}))


# --- what runs and challenges write ---

_CLAIM = json.dumps(
    {
        "host": "h",
        "boot": "b",
        "namespace": "n",
        "pid": 5,
        "started": "1",
        "nonce": "a",
        "work": "cell",
    }
)
_FAILED = json.dumps(
    {
        "task": "b0-A4-C",
        "backbone": "cnn",
        "kind": "error",
        "words": "w",
        "attempts": 1,
        "facts": "f",
        "command": "etab run",
    }
)
_LOG = json.dumps(
    {
        "schema": 1,
        "time": "2999-01-01T00:00:00.000+00:00",
        "host": "h",
        "pid": 3,
        "event": "cell_ended",
        "outcome": "finished",
        "seconds": 1.5,
        "peak_memory": 1000,
    }
)
_OUTPUT = "#ID\nPresent,Unknown,Absent,Abnormal,Normal\n1,0,0,1,0\n0.8,0.1,0.1,0.7,0.3\n"


def _packed_table(folder: Path) -> Path:
    (folder / "a.csv.gz").write_bytes(gzip.compress(b"item,group\n" + b"a,b\n" * 500, mtime=0))
    return folder / "a.csv.gz"


def _read_packed_table(path: Path) -> object:
    """Read a packed table as a record does, which makes an error of the file of an OSError."""
    from etab.errors import ResultError

    try:
        return read_table_bytes(path)
    except OSError as error:
        raise ResultError(f"{path}: {error}") from error


def _entry(ending: str) -> Build:
    def build(folder: Path) -> Path:
        inner = folder / "entry"
        inner.mkdir()
        for name in ("setup.sh", "next.sh", "a/b.txt"):
            (inner / name).parent.mkdir(exist_ok=True)
            (inner / name).write_text(name * 30)
        path = folder / f"e{ending}"
        if ending == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(inner.rglob("*.*")):
                    archive.write(file, file.relative_to(inner).as_posix())
        else:
            with tarfile.open(path, "w:gz") as packed:
                packed.add(inner, ".")
        return path

    return build


def _read_entry(path: Path) -> object:
    import shutil

    target = path.parent / "unpacked"
    try:
        unpack_entry(path, target, most_bytes=1 << 24, most_files=100)
        inside = target.resolve()
        assert all(p.resolve().is_relative_to(inside) for p in target.rglob("*"))
        return sorted(p.name for p in target.rglob("*"))
    finally:
        shutil.rmtree(target, ignore_errors=True)


_STATES = "item,repeat,states\na,0,1:5 2:5\n"
_CURVES = (
    "task,backbone,protocol,labels,draws,training_rows,metric,value,low,high,phantom\n"
    "b0-A4-C,cnn,cv5,10 %,3,8,mae,7.5,6.5,8.5,\n"
    "b0-A4-C,cnn,cv5,5 a class,3,10,mae,7,6,8,phantom\n"
)

BROUGHT = [
    *[
        Subject(f"picture {ending}", _picture(ending), lambda path: read_frames(path).shape)
        for ending in (".jpg", ".tif", ".bmp", ".png")
    ],
    *[
        Subject(f"mask {ending}", _picture(ending), lambda path: read_mask(path, 3).sum())
        for ending in (".tif", ".bmp", ".png")
    ],
    Subject("mkv", _clip(".mkv", "mpeg4"), lambda path: read_video(path).shape),
    Subject("mov", _clip(".mov", "mpeg4"), lambda path: read_video(path).shape),
    Subject("webm", _clip(".webm", "libvpx"), lambda path: read_video(path).shape),
    Subject("flac", _flac, lambda path: read_sound(path)[0].sum()),
    Subject("zarr head", _zarr_folder("zarr.json"), _read_zarr, names=("a.zarr",)),
    Subject("zarr chunk", _zarr_folder("0"), _read_zarr, names=("a.zarr",)),
    Subject("zarr shard", _zarr_shard, _read_zarr, names=("a.zarr",)),
    Subject("zarr zip", _zarr_zip, _read_zarr),
    Subject(
        "croissant",
        text_file("croissant.json", json.dumps(_CATALOGUE)),
        lambda path: len(read_catalogue(path).recordings),
        names=("croissant.json",),
    ),
    Subject("keras", _keras, lambda path: len(read_weights(path, "keras-h5"))),
    Subject("onnx", _onnx, lambda path: len(read_weights(path, "onnx"))),
    Subject("silero", _silero, lambda path: len(read_sound_weights("silero_vad", path, None))),
    Subject("tflite", _tflite, _read_tflite),
    *[
        Subject(
            f"checkpoint {name}",
            _checkpoint(name),
            lambda path: len(read_checkpoint(path.parent)[1]),
            names=("The checkpoint in",),
        )
        for name in ("state.json", "*.safetensors")
    ],
    *[
        Subject(
            f"model {name}",
            _model_folder(name),
            lambda path: describe(str(path.parent)),
            names=("transformers/",),
        )
        for name in ("config.json", "preprocessor_config.json")
    ],
    Subject("folds .csv", text_file("folds.csv", _FOLDS_CSV), lambda path: len(read_lists(path))),
    Subject(
        "folds .json", text_file("folds.json", _FOLDS_JSON), lambda path: len(read_lists(path))
    ),
    Subject(
        "suite",
        text_file("suite.toml", _SUITE),
        lambda path: suite_named(str(path)).tasks,
        names=("the suite mine", "The weight of"),
    ),
    Subject("paths", text_file("paths.toml", 'camus_dir = "/data/CAMUS"\n'), _read_paths),
    Subject("claim", text_file("c", _CLAIM), lambda path: read_claim(path) is None),
    Subject("failed", text_file(".failed/c", _FAILED), lambda p: len(failed_cells(p.parents[1]))),
    Subject("log", text_file(".log/a.jsonl", _LOG), lambda p: last_hour(read_lines(p.parents[1]))),
    Subject("answers", text_file("answers.txt", "a0001,1\na0002,-1\n"), read_answers),
    Subject("output", text_file("5.csv", _OUTPUT), read_output),
    Subject("states", text_file("a.states.csv", _STATES), read_kept_states),
    Subject("packed table", _packed_table, _read_packed_table),
    Subject("curves", text_file("curves.csv", _CURVES), read_curves),
    Subject("entry .zip", _entry(".zip"), _read_entry),
    Subject("entry .tar.gz", _entry(".tar.gz"), _read_entry),
]
