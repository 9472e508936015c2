"""Wall time of clips of 16 frames read from phantom MJPG videos, in one thread, beside the loaders of others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.perf.reading import Times, one_reading_thread, times
from benchmarks.perf.rows import Row

FILES = 60
_ROUNDS = 5


def rows() -> Iterator[Row]:
    """Time the ways in turns, file by file, after their answers were compared."""
    with tempfile.TemporaryDirectory() as folder, one_reading_thread():
        yield from time_rows(times(Path(folder), FILES, _ROUNDS))


def time_rows(found: Times) -> Iterator[Row]:
    """The lines of the times of all ways.

    Args:
        found: Seconds of each way.
    """
    grey = f"grey levels: largest difference {found.grey:.2g}"
    batch = f"normalised pixels: largest difference {found.normalised:.2g}"
    yield Row(
        task="16 frames of a video",
        ours=found.clip["ours"],
        peer_name="the way of the EchoNet-Dynamic loader",
        peer=found.clip["echonet"],
        wanted=30.0,
        agreement=grey,
    )
    if found.torchcodec is not None:
        yield Row(
            task="16 frames of a video",
            ours=found.torchcodec["ours"],
            peer_name="torchcodec's get_frames_at, in RGB",
            peer=found.torchcodec["torchcodec"],
            agreement=f"grey levels: largest difference {found.grey_of_torchcodec:.2g}",
        )
    yield Row(
        task="16 frames of a video (aim: at most 1.2 of the limit)",
        ours=found.close["ours"],
        peer_name="",
        peer=None,
        limit_name="libjpeg-turbo on 16 payloads in memory",
        limit=found.close["floor"],
        agreement="the same grey levels",
    )
    for source, way in (("a video", "ours"), ("the clip cache", "cached")):
        yield Row(
            task=f"a normalised batch of 16 frames of 224 x 224 from {source}",
            ours=found.batch[way],
            peer_name="the way of the loader of ETAB 2022, from a video",
            peer=found.batch["2022"],
            wanted=17.0 if way == "ours" else None,
            agreement=batch,
        )
    yield Row(
        task="16 frames from the clip cache, checksum included",
        ours=found.kept["cached"],
        peer_name="our decoding of the video",
        peer=found.kept["ours"],
        limit_name="a copy of the frames in memory",
        limit=found.copied["copied"] * found.kept["cached"] / found.copied["cached"],
        wanted=40.0,
        agreement="the same grey levels",
    )
