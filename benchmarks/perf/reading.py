"""Reading clips: our way beside the EchoNet-Dynamic loader's, the 2022 ETAB loader's, and the libjpeg-turbo floor.

``python -m benchmarks.perf.reading [--quick]`` writes phantom MJPG AVI files (112 x 112, 100 to 250 frames) to a temporary
folder, reads a 16-frame clip of each in every way, interleaved file by file in one thread of one process, checks that all
ways give the same answer (tolerances below), prints the ratios and writes ``benchmarks/perf/reading.json``.

The two loaders are written anew from their descriptions: the whole video through cv2.VideoCapture to RGB float32, then the
clip is cut; the 2022 loader also resizes each frame with PIL and normalises it. The floor decodes the 16 JPEG payloads,
already in memory, to grey, and does nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import torch
from PIL import Image

from etab import phantom
from etab.datasets.dataset import Dataset
from etab.datasets.pictures import IMAGENET_MEAN, IMAGENET_STD, PictureReader
from etab.readers import avi
from etab.readers.video import read_video
from etab.storage.clipcache import ClipCache

FRAMES, SIZE, CLIPS = 16, 224, 10_000
_CLOSE = 20  # times the rounds where two quick ways are held against each other: what else runs here must not decide
GREY_TOLERANCE = 3  # grey levels: luma of the file against RGB-then-grey
BATCH_TOLERANCE = (
    4 / 255 / min(IMAGENET_STD)
)  # the same, with PIL's and cv2's rounding of a resized grey level
HERE = Path(__file__).parent
Ways = Mapping[str, Callable[[Path], Any]]


def write_files(folder: Path, n: int) -> list[Path]:
    """An EchoNet tree of phantom videos, lengthened to 100-250 frames; returns the videos."""
    phantom.write(folder, patients=n)
    root, rng = folder / "echonet", np.random.default_rng(0)
    for path in sorted((root / "Videos").glob("*.avi")):
        beat = read_video(path)
        size = beat.shape[2], beat.shape[1]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50, size)
        for k in range(int(rng.integers(100, 251))):
            writer.write(cv2.cvtColor(beat[k % len(beat)], cv2.COLOR_GRAY2BGR))
        writer.release()
    return sorted((root / "Videos").glob("*.avi"))


def numbers(path: Path) -> list[int]:
    """The clip of a file: 16 frames, every second one, from a start that the name decides."""
    start = int(path.stem, 16) % 60
    return list(range(start, start + 2 * FRAMES, 2))


def whole_rgb(path: Path) -> np.ndarray:
    """The EchoNet-Dynamic loader: every frame to RGB, then (3, n, h, w) float32."""
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    height, width = (
        int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
    )
    video = np.zeros((count, height, width, 3), np.uint8)
    for k in range(count):
        good, frame = capture.read()
        if not good:
            raise ValueError(f"frame {k} of {path.name} cannot be read")
        video[k] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    capture.release()
    return video.transpose(3, 0, 1, 2).astype(np.float32)


def echonet_clip(path: Path) -> np.ndarray:
    """That loader's item: the whole video is normalised (by its defaults, mean 0 and std 1), then the clip is cut."""
    video = whole_rgb(path)
    video -= 0.0
    video /= 1.0
    return video[:, numbers(path)]


def etab_2022_batch(path: Path) -> torch.Tensor:
    """The 2022 loader: the whole video, then each frame through PIL to 224 x 224 and ImageNet's mean and std."""
    frames = whole_rgb(path)[:, numbers(path)].transpose(1, 2, 3, 0).astype(np.uint8)
    small = [
        np.asarray(Image.fromarray(f).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        for f in frames
    ]
    x = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).to(torch.float32).div(255)
    return (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[
        :, None, None
    ]


def torchcodec_clip(path: Path) -> np.ndarray:
    """The clip by torchcodec, which seeks in the file and decodes to RGB: (n, h, w, 3) uint8."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    return np.asarray(decoder.get_frames_at(indices=numbers(path)).data.numpy())


def has_torchcodec(path: Path) -> bool:
    """Whether torchcodec is installed, and finds the libraries of FFmpeg: it loads them late."""
    try:
        torchcodec_clip(path)
    except (ImportError, RuntimeError, OSError):
        return False
    return True


def floor(path: Path) -> list[np.ndarray]:
    return [simplejpeg.decode_jpeg(jpeg, "GRAY") for jpeg in _payloads(path)]


_KEPT: dict[Path, list[bytes]] = {}


def _payloads(path: Path) -> list[bytes]:
    """The JPEG payloads of a clip, in memory from the first call on."""
    if path not in _KEPT:
        with avi.Bytes(path) as data:
            found = avi.parse_avi(data)
            if found is None:
                raise ValueError(f"{path.name} is not an AVI")
            views = avi.payloads(data, avi.spans(data, found), numbers(path))
            _KEPT[path] = [bytes(view) for view in views]
    return _KEPT[path]


def interleaved(ways: Ways, files: Sequence[Path], rounds: int) -> dict[str, float]:
    """Seconds a clip of each way: the median over the files of the least of the rounds, since others use this machine too.

    On each file every way runs once, in turn, in an order that rotates.
    """
    for way in ways.values():
        way(files[0])
    least = {name: np.full(len(files), np.inf) for name in ways}
    names = list(ways)
    for turn in range(rounds):
        for i, path in enumerate(files):
            shift = (turn + i) % len(names)
            for name in names[shift:] + names[:shift]:
                start = time.perf_counter()
                ways[name](path)
                least[name][i] = min(least[name][i], time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in least.items()}


def check_grey(files: Sequence[Path]) -> float:
    """The largest difference in grey levels between our clip and the EchoNet way's; the floor gives the very same."""
    worst = 0.0
    for path in files:
        ours, theirs = read_video(path, numbers(path)), echonet_clip(path)
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        worst = max(worst, float(np.abs(np.tensordot(weights, theirs, 1) - ours).max()))
        if not np.array_equal(np.stack(floor(path))[..., 0], ours):
            raise SystemExit(f"the floor and our way differ on {path.name}")
    return _within(worst, GREY_TOLERANCE, "grey levels")


def check_torchcodec(files: Sequence[Path]) -> float:
    """The largest difference in grey levels between our clip and torchcodec's."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    worst = 0.0
    for path in files:
        grey = torchcodec_clip(path).astype(np.float32) @ weights
        worst = max(worst, float(np.abs(grey - read_video(path, numbers(path))).max()))
    return _within(worst, GREY_TOLERANCE, "grey levels of torchcodec")


def _within(worst: float, limit: float, what: str) -> float:
    if worst > limit:
        raise SystemExit(f"the ways differ by {worst:.3g} {what}; the tolerance is {limit:.3g}")
    return worst


def resident() -> float:
    """MiB of this process in memory that are its own (not pages of files, which the system takes back at will)."""
    fields = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":" in line
    )
    return float(fields["RssAnon"].split()[0]) / 1024


def flat(way: Callable[[Path], Any], files: Sequence[Path], clips: int) -> dict[str, float]:
    """MiB after a tenth of the clips, at the end, and the peak of the process."""
    for i in range(clips // 10):
        way(files[i % len(files)])
    early = resident()
    for i in range(clips - clips // 10):
        way(files[i % len(files)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "after_a_tenth_mib": round(early, 1),
        "at_the_end_mib": round(resident(), 1),
        "peak_mib": round(peak, 1),
    }


def dataset_ways(
    root: Path, cache: Path | None, ds_files: dict[Path, int]
) -> Callable[[Path], torch.Tensor]:
    ds = Dataset(
        "echonet",
        "EF",
        video=True,
        clip_l=FRAMES,
        frame_l=SIZE,
        frame_w=SIZE,
        root=root,
        cache=cache,
    )
    records = {path: next(r for r in ds.source.records() if r.id == path.stem) for path in ds_files}
    reader = ds._reader
    if not isinstance(reader, PictureReader):
        raise TypeError("echonet holds no frames")
    return lambda path: reader._pictures(records[path], numbers(path))


def native_cached(cache: ClipCache, files: Sequence[Path]) -> Callable[[Path], np.ndarray]:
    from etab.storage.clipcache import base_key, clip_key

    clips = {path: np.asarray(numbers(path)) for path in files}

    def way(path: Path) -> np.ndarray:
        key = clip_key(base_key("benchmark", "native"), path.stem, [path], clips[path])
        return cache.get(key, lambda: read_video(path, clips[path].tolist()))

    return way


def machine() -> dict[str, Any]:
    """What decides a speed, without names of hosts or places."""
    cpu = "unknown"
    if (info := Path("/proc/cpuinfo")).exists():
        cpu = next(
            (
                line.split(":", 1)[1].strip()
                for line in info.read_text().splitlines()
                if "model name" in line
            ),
            cpu,
        )
    packages = ("numpy", "opencv-python-headless", "simplejpeg", "torch", "pillow", "xxhash")
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "threads": 1,
    }


@dataclass(frozen=True)
class Times:
    """Seconds of a clip by each way; ways of one field were timed in turns.

    Attributes:
        clip: Our way, the way of the EchoNet-Dynamic loader, and the floor.
        close: Our way and the floor alone, in many rounds.
        batch: To a normalised batch: our way, that of the loader of 2022, and from the clip cache.
        kept: Our way, and from the clip cache.
        copied: From the clip cache, and a copy of the frames in memory.
        grey: Largest difference to the EchoNet-Dynamic loader, in grey levels.
        normalised: Largest difference to the loader of 2022, on the normalised scale.
        grey_of_torchcodec: Largest difference to torchcodec, in grey levels; None without it.
        torchcodec: Our way and torchcodec, timed after all others: its libraries change how the
            process allocates memory. None where it is not installed.
    """

    clip: Mapping[str, float]
    close: Mapping[str, float]
    batch: Mapping[str, float]
    kept: Mapping[str, float]
    copied: Mapping[str, float]
    grey: float
    normalised: float
    grey_of_torchcodec: float | None = None
    torchcodec: Mapping[str, float] | None = None


def times(folder: Path, n: int, rounds: int) -> Times:
    """Compare the answers of all ways on n made videos, then time the ways in turns.

    Args:
        folder: An empty folder for the videos and the caches.
        n: Number of videos.
        rounds: How often each is read; quick ways are read more often.
    """
    files = write_files(folder, n)
    index = {path: i for i, path in enumerate(files)}
    root = folder / "echonet"
    batch = dataset_ways(root, None, index)
    cached_batch = dataset_ways(root, folder / "kept", index)
    cached = native_cached(ClipCache(folder / "native"), files)
    grey = check_grey(files)
    worst = max(float((batch(p) - etab_2022_batch(p)).abs().max()) for p in files)
    _within(worst, BATCH_TOLERANCE, "of the normalised scale")
    for path in files:
        for _ in range(2):
            if not (
                torch.equal(cached_batch(path), batch(path))
                and np.array_equal(cached(path), our_clip(path))
            ):
                raise SystemExit(f"the cache and the decoder differ on {path.name}")
    slow: Ways = {"ours": our_clip, "echonet": echonet_clip, "floor": floor}
    clips_kept = {path: our_clip(path) for path in files}
    copied: Callable[[Path], np.ndarray] = lambda path: clips_kept[path].copy()  # noqa: E731
    close = _CLOSE * rounds
    found = Times(
        clip=interleaved(slow, files, rounds),
        close=interleaved({"ours": our_clip, "floor": floor}, files, close),
        batch=interleaved(
            {"ours": batch, "2022": etab_2022_batch, "cached": cached_batch}, files, rounds
        ),
        kept=interleaved({"ours": our_clip, "cached": cached}, files, close),
        copied=interleaved({"cached": cached, "copied": copied}, files, close),
        grey=grey,
        normalised=worst,
    )
    if not has_torchcodec(files[0]):
        return found
    pair: Ways = {"ours": our_clip, "torchcodec": torchcodec_clip}
    return replace(
        found,
        grey_of_torchcodec=check_torchcodec(files),
        torchcodec=interleaved(pair, files, rounds),
    )


def our_clip(path: Path) -> np.ndarray:
    """The clip of a file, decoded by us."""
    return read_video(path, numbers(path))


@contextlib.contextmanager
def one_reading_thread() -> Iterator[None]:
    """One thread of cv2 and of torch meanwhile."""
    of_cv2, of_torch = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(of_cv2)
        torch.set_num_threads(of_torch)


def measure(folder: Path, n: int, rounds: int, clips: int) -> dict[str, Any]:
    """The times of all ways, their ratios and aims, and the memory of many clips."""
    found = times(folder, n, rounds)
    files = sorted((folder / "echonet" / "Videos").glob("*.avi"))
    cached = native_cached(ClipCache(folder / "native"), files)
    rows = [
        row(
            "16-frame clip, over the EchoNet-Dynamic loader's way",
            found.clip["echonet"] / found.clip["ours"],
            20,
            ">=",
        ),
        row(
            "16-frame clip, time over the libjpeg-turbo floor",
            found.close["ours"] / found.close["floor"],
            1.2,
            "<=",
        ),
        row(
            "the floor itself, over the EchoNet-Dynamic loader's way",
            found.clip["echonet"] / found.clip["floor"],
            None,
            "",
        ),
        row(
            "to a normalised 224 x 224 batch, over the 2022 loader",
            found.batch["2022"] / found.batch["ours"],
            10,
            ">=",
        ),
        row(
            "to that batch from the clip cache, over the 2022 loader",
            found.batch["2022"] / found.batch["cached"],
            None,
            "",
        ),
        row(
            "clip from the verified cache, over our decoding",
            found.kept["ours"] / found.kept["cached"],
            40,
            ">=",
        ),
    ]
    rows.append(
        row(
            "clip from the verified cache, time over a plain copy",
            found.copied["cached"] / found.copied["copied"],
            None,
            "",
        )
    )
    memory = {"decoding": flat(our_clip, files, clips), "cache": flat(cached, files, clips)}
    growth = max(m["at_the_end_mib"] - m["after_a_tenth_mib"] for m in memory.values())
    rows.append(row(f"MiB more after {clips} clips than after {clips // 10}", growth, 8, "<="))
    return {
        "rows": rows,
        "clip_microseconds": round(found.close["ours"] * 1e6),
        "largest_difference_grey_levels": round(found.grey, 2),
        "largest_difference_normalised": round(found.normalised, 4),
        "memory": memory,
        "files": len(files),
        "phantom": True,
        "machine": machine(),
    }


def row(name: str, value: float, target: float | None, sign: str) -> dict[str, Any]:
    met = None if target is None else value >= target if sign == ">=" else value <= target
    return {
        "name": name,
        "value": round(value, 2),
        "target": None if target is None else f"{sign} {target:g}",
        "met": met,
    }


def main(arguments: Sequence[str]) -> int:
    quick = "--quick" in arguments
    with tempfile.TemporaryDirectory() as folder, one_reading_thread():
        found = measure(
            Path(folder), 12 if quick else 60, 2 if quick else 5, 500 if quick else CLIPS
        )
    for line in found["rows"]:
        said = (
            ""
            if line["met"] is None
            else f"wanted {line['target']}: {'met' if line['met'] else 'MISSED'}"
        )
        print(f"{line['value']:9.2f}  {line['name']:<60} {said}")
    print(
        f"memory: {found['memory']}; same answers within {found['largest_difference_grey_levels']} grey levels"
    )
    if not quick:
        (HERE / "reading.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0 if all(line["met"] is not False for line in found["rows"]) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
