"""The input of each named echo network beside the code of its authors, on the same clips.

``python -m benchmarks.upstream DIR CLIP...`` runs functions of checkouts of the published
repositories (``DIR/<owner>+<name>``) on the clips, and compares their tensors with those that etab
gives the networks. Each clip is made grey first and written without loss, so that both read the
same pixels. The code of EchoCardMAE needs albumentations, that of EchoCLIP needs open-clip-torch.
"""

from __future__ import annotations

import argparse
import ast
import glob
import os
import sys
import tempfile
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms, tv_tensors
from torchvision.transforms import v2

from etab import backbones
from etab.backbones.video.published import ECHONET_SCALE
from etab.types import Array

# The authors draw the first frame of a clip at random; here it is frame 0.
_FIRST = SimpleNamespace(randint=lambda *_, **__: np.zeros(1, np.int64), choice=lambda *_: 0)


class _Numpy:
    """NumPy whose draws are 0 and which still has the old alias ``int``."""

    random = _FIRST
    int = int

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def definitions(file: Path, names: Sequence[str], given: Mapping[str, Any]) -> SimpleNamespace:
    """Run single definitions of a file of someone else's, without the rest of the file.

    Args:
        file: The file.
        names: Its functions and classes that are wanted.
        given: What these definitions use from outside.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    chosen: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, kinds) and node.name in names:
            chosen.append(node)
    space: dict[str, Any] = {"np": _Numpy(), "cv2": cv2, "torch": torch, "os": os, **given}
    exec(compile(ast.Module(chosen, []), str(file), "exec"), space)
    return SimpleNamespace(**{name: space[name] for name in names})


def echoprime(root: Path, file: Path) -> Array:
    """``process_mp4s`` of EchoPrime."""
    utils = definitions(root / "echonet+EchoPrime/utils/utils.py", ["crop_and_scale"], {})
    videos = SimpleNamespace(
        io=SimpleNamespace(read_video=lambda path: (read(Path(path)), None, {"video_fps": 30}))
    )
    given = {"utils": utils, "torchvision": videos, "glob": glob}
    code = definitions(root / "echonet+EchoPrime/echo_prime/model.py", ["EchoPrime"], given)
    mean = torch.tensor([29.110628, 28.076836, 29.096405]).reshape(3, 1, 1, 1)
    std = torch.tensor([47.989223, 46.456997, 47.20083]).reshape(3, 1, 1, 1)
    model = SimpleNamespace(frames_to_take=32, frame_stride=2, video_size=224, mean=mean, std=std)
    return np.asarray(code.EchoPrime.process_mp4s(model, str(file.parent))[0])


def panecho(root: Path, file: Path) -> Array:
    """``_load_clip`` and the transform of the data set of EchoNet-Dynamic of PanEcho."""
    code = definitions(
        root / "CarDS-Yale+PanEcho/src/dataset.py",
        ["EchoNetDynamicDataset"],
        {"tv_tensors": tv_tensors, "v2": v2},
    )
    loaded = code.EchoNetDynamicDataset._load_clip(None, str(file), len(read(file)), 16)
    steps = [
        v2.CenterCrop(size=(224, 224)),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
    return np.asarray(v2.Compose(steps)(loaded).permute(1, 0, 2, 3))


def echoclip(root: Path, file: Path) -> Array:
    """``read_avi`` of EchoCLIP, open_clip's transform, and the frames of its zero-shot example."""
    open_clip = import_module("open_clip")
    constants = import_module("open_clip.constants")
    code = definitions(
        root / "echonet+echo_CLIP/utils.py", ["crop_and_scale", "read_avi"], {"Path": Path}
    )
    prepare = open_clip.image_transform(
        224, is_train=False, mean=constants.OPENAI_DATASET_MEAN, std=constants.OPENAI_DATASET_STD
    )
    frames = code.read_avi(file, (224, 224))
    video = torch.stack([prepare(transforms.ToPILImage()(frame)) for frame in frames])
    shown = video[0 : min(40, len(video)) : 2]
    return np.asarray(shown.permute(1, 0, 2, 3))


def echofm(root: Path, file: Path) -> Array:
    """The data set of video files of EchoFM."""
    from torch.utils.data import Dataset

    given = {"Dataset": Dataset, "Image": Image, "T": transforms, "VIDEO_EXTS": (".avi",)}
    draws = SimpleNamespace(randint=lambda *_: 0)
    code = definitions(
        root / "SekeunKim+EchoFM/data/dataset.py",
        ["sample_clip_indices", "EchoDataset_from_Video_mp4"],
        {**given, "random": draws},
    )
    return np.asarray(code.EchoDataset_from_Video_mp4(str(file.parent))._load(str(file)))


def echonet_ef(root: Path, file: Path) -> Array:
    """The data set of EchoNet-Dynamic, with the mean and deviation of etab."""
    folder = root / "echonet+dynamic/echonet"
    given = {"typing": typing}
    loading = definitions(folder / "utils/__init__.py", ["loadvideo"], given)
    base = SimpleNamespace(datasets=SimpleNamespace(VisionDataset=object))
    code = definitions(
        folder / "datasets/echo.py",
        ["Echo"],
        {"torchvision": base, "echonet": SimpleNamespace(utils=loading)},
    )
    mean, std = (255 * np.array(part, np.float32) for part in ECHONET_SCALE)
    data = SimpleNamespace(
        split="EXTERNAL_TEST",
        external_test_location=str(file.parent),
        fnames=[file.name],
        noise=None,
        mean=mean,
        std=std,
        length=32,
        period=2,
        max_length=250,
        clips="all",
        target_type=[],
        target_transform=None,
        pad=None,
    )
    video, _ = code.Echo.__getitem__(data, 0)
    return np.asarray(video[0])


def echonet_seg(root: Path, file: Path) -> Array:
    """The first frame of EchoNet-Dynamic's data set, as its segmentation network reads it."""
    return echonet_ef(root, file)[:, :1]


def echocardmae(root: Path, file: Path) -> Array:
    """The first test clip of EchoCardMAE."""
    albumentations = import_module("albumentations")
    to_tensor = import_module("albumentations.pytorch").ToTensorV2()
    folder = root / "m1dsolo+EchoCardMAE"
    shared = definitions(folder / "utils.py", ["read_avi", "replay_transform"], {})
    given = {"REPEAT_NUM": 5, "replay_transform": shared.replay_transform}
    code = definitions(folder / "echonet/val_ef.py", ["video_transform"], given)
    normal = albumentations.Normalize(mean=ECHONET_SCALE[0], std=ECHONET_SCALE[1])
    steps = albumentations.ReplayCompose([normal, to_tensor])
    prepare = code.video_transform(steps, 16, 4)
    return np.asarray(prepare({"video": shared.read_avi(str(file)), "EF": 0.0})["video"][0])


UPSTREAM: Mapping[str, Callable[[Path, Path], Array]] = {
    "echoprime": echoprime,
    "panecho": panecho,
    "echoclip": echoclip,
    "echofm": echofm,
    "echonet_ef": echonet_ef,
    "echonet_seg": echonet_seg,
    "echocardmae": echocardmae,
}
# The videos of EchoNet-Dynamic are 112 x 112 pixels; code that reads them resizes nothing.
_SMALL = ("echonet_ef", "echonet_seg", "echocardmae")


def read(file: Path) -> Array:
    """Frames of a video, uint8 (n, h, w, 3)."""
    capture = cv2.VideoCapture(str(file))
    frames: list[Array] = []
    while True:
        exists, frame = capture.read()
        if not exists:
            return np.stack(frames)
        frames.append(frame)


def of_etab(name: str, frames: Array) -> Array:
    """What etab gives the network for grey frames (n, h, w): (3, frames, size, size)."""
    card = backbones.card(name)
    if card.clip is None:
        from etab.features.frames import resize

        backbone: Any = backbones.card(f"random/{name}").load()
        first = resize(frames[0], card.size, card.interpolation)
        return np.asarray(backbone.normalised(torch.from_numpy(first)[None])[0])[:, None]
    x, exists = card.clip.prepare(frames)
    tensor = card.clip.tensor(torch.from_numpy(x)[None], torch.from_numpy(exists)[None])[0]
    if card.clip.short == "fewer":
        tensor = tensor[:, torch.from_numpy(exists)]
    return np.asarray(tensor)


def written(frames: Array, file: Path) -> None:
    """Write grey frames (n, h, w) as a video without loss."""
    size = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"FFV1"), 30, size)
    for frame in frames:
        writer.write(cv2.merge([frame] * 3))
    writer.release()
    if not np.array_equal(read(file)[..., 0], frames):
        sys.exit(f"{file} was not written without loss.")


def compare(name: str, root: Path, frames: Array) -> float:
    """Largest difference of the two tensors of a clip of grey frames (n, h, w)."""
    if name in _SMALL:
        frames = np.stack([cv2.resize(f, (112, 112), interpolation=cv2.INTER_AREA) for f in frames])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.avi"
        written(frames, file)
        if name == "echoprime":
            (Path(folder) / "clip.mp4").symlink_to(file)
        theirs = UPSTREAM[name](root, file)
    ours = of_etab(name, frames)
    if ours.shape != theirs.shape:
        sys.exit(f"{name}: shape {ours.shape} here, {theirs.shape} upstream.")
    return float(np.abs(ours - theirs).max())


def main() -> None:
    """Print the largest difference of each network over the clips, whole and cut to 10 frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="Checkouts, as <owner>+<name>.")
    parser.add_argument("clips", type=Path, nargs="+", help="Videos.")
    options = parser.parse_args()
    grey = []
    for path in options.clips:
        grey.append(np.stack([cv2.cvtColor(f, cv2.COLOR_BGR2GRAY) for f in read(path)]))
    for name in UPSTREAM:
        whole = max(compare(name, options.folder, frames) for frames in grey)
        short = max(compare(name, options.folder, frames[:10]) for frames in grey)
        print(f"{name:12} {len(grey)} clips: {whole:.2e}; their first 10 frames: {short:.2e}")


if __name__ == "__main__":
    main()
