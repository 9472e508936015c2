"""Wall time (medians of turns) of the loops of other benchmarks as they stand, on the same frames and network.

The frames are those of the part ``features``, which etab reads from the files of CAMUS. The others
read PNG files of the same frames, already resized by etab, which is less work. All write what they
compute. Each other benchmark is a checkout that a variable of the environment names
(``benchmarks.perf.peers``); one without a variable is left out.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.perf import peers
from benchmarks.perf.rows import Row
from benchmarks.perf.table_features import (
    BATCH,
    FRAMES,
    NETWORKS,
    camus_source,
    extraction,
    turns,
)
from etab import backbones
from etab.datasets.base import Source
from etab.features.frame_batches import FrameBatches
from etab.features.frames import annotated_frames
from etab.features.store import placed, resolve_precision
from etab.storage.machine import allowed_cores
from etab.storage.memory import freed_memory_kept
from etab.types import Array, Features

TITLE = "ResNet-50"
ROUNDS = 3


@dataclass(frozen=True)
class Given:
    """What each loop is given.

    Attributes:
        network: The network in float32, which returns pooled features (n, d).
        normalise: Turns uint8 frames (n, s, s) into its input.
        pictures: PNG files of the frames.
        folder: Where a loop writes.
    """

    network: torch.nn.Module
    normalise: Callable[[torch.Tensor], torch.Tensor]
    pictures: Sequence[Path]
    folder: Path


class Pictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """PNG files as inputs of the network, each with the label 0."""

    def __init__(self, given: Given) -> None:
        self.given = given

    def __len__(self) -> int:
        return len(self.given.pictures)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture = cv2.imread(str(self.given.pictures[number]), cv2.IMREAD_GRAYSCALE)
        ready = self.given.normalise(torch.from_numpy(np.asarray(picture))[None])
        return ready[0].contiguous(), torch.tensor(0)

    def filename(self, number: int) -> str:
        """The name of a file, as eva asks for it."""
        return self.given.pictures[number].name


class NamedPictures(Pictures):
    """The same as torchgeo-bench asks for them: a dictionary."""

    def __getitem__(self, number: int) -> Any:
        image, label = super().__getitem__(number)
        return {"image": image, "label": label}


def of_torchgeo_bench(utils: ModuleType, given: Given) -> Array:
    """Features by ``extract_features`` of torchgeo-bench, which keeps them in memory."""
    loader = DataLoader(NamedPictures(given), batch_size=BATCH, num_workers=allowed_cores())
    features, _ = utils.extract_features(given.network, loader, "cpu", verbose=False)
    np.save(given.folder / "features.npy", features)
    return np.asarray(features)


def of_cardiobench(video: ModuleType, given: Given) -> Array:
    """Features by the steps of CardioBench's ``generate_embeddings``, one picture after another."""

    def ready(picture: Any) -> torch.Tensor:
        return given.normalise(torch.from_numpy(np.array(picture))[None])[0]

    model = SimpleNamespace(encode_image=given.network)
    features = []
    for path in given.pictures:
        frames = video.preprocess_frames(video.read_video(path), ready)
        found = video.encode_video_clip_batched(
            model, frames, device="cpu", precision="fp32", pin_memory=False, normalize=False
        )
        torch.save({"embedding_per_frame": found}, given.folder / f"{path.stem}.pt")
        features.append(found.detach().float().numpy())
    return np.concatenate(features)


def of_eva(eva: ModuleType, given: Given) -> Array:
    """Features by ``predict`` of eva's trainer, with its writer of embeddings."""
    from eva.core.callbacks import ClassificationEmbeddingsWriter

    out = given.folder / "embeddings"
    writer = ClassificationEmbeddingsWriter(str(out), backbone=given.network, overwrite=True)
    trainer = eva.Trainer(
        default_root_dir=str(given.folder / "logs"),
        accelerator="cpu",
        callbacks=[writer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = eva.DataLoader(batch_size=BATCH, num_workers=allowed_cores(), pin_memory=False)
    data = eva.DataModule(
        datasets=eva.DatasetsSchema(predict=Pictures(given)),
        dataloaders=eva.DataloadersSchema(predict=loader),
    )
    head = eva.HeadModule(head=torch.nn.Identity(), criterion=torch.nn.functional.cross_entropy)
    trainer.predict(head, datamodule=data, return_predictions=False)
    files = [out / path.with_suffix(".pt").name for path in given.pictures]
    return np.concatenate([np.atleast_2d(torch.load(file)[0].numpy()) for file in files])


Loop = Callable[[Given], Array]


def loops() -> dict[str, Loop]:
    """The loops whose checkouts are there, by how the table calls them."""
    found: dict[str, Loop] = {}
    utils = peers.torchgeo_bench("utils")
    if utils is not None:
        found["torchgeo-bench's extract_features"] = lambda given: of_torchgeo_bench(utils, given)
    video = peers.cardiobench("src/video.py")
    if video is not None:
        found["CardioBench's loop"] = lambda given: of_cardiobench(video, given)
    eva = peers.eva()
    if eva is not None:
        found["eva's predict with its writer"] = lambda given: of_eva(eva, given)
    return found


def rows() -> Iterator[Row]:
    """Time etab in fp32 and in the precision that is its default, and every loop, in turns."""
    torch.set_num_threads(allowed_cores())
    with freed_memory_kept(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from network_rows(NETWORKS[TITLE], camus_source(folder), folder)


def network_rows(name: str, source: Source, folder: Path) -> Iterator[Row]:
    """Compare the features of all loops, then time them.

    Args:
        name: Name of a backbone of timm with random weights.
        source: The source of the frames.
        folder: Where files may be written.
    """
    card = backbones.card(name)
    given = written(name, source, folder / "loops")
    default = resolve_precision("auto", card, "cpu")
    precisions = list(dict.fromkeys(("fp32", default)))
    ours = [extraction(name, precision, source, folder, maps=True) for precision in precisions]
    features = cast(Features, ours[0]())
    shutil.rmtree(folder / "entry")
    found = loops()
    gaps = {title: gap(features, loop(given)) for title, loop in found.items()}
    theirs = [lambda loop=loop: loop(given) for loop in found.values()]
    timed = turns(
        [*ours, *theirs], ROUNDS, lambda: shutil.rmtree(folder / "entry", ignore_errors=True)
    )
    for precision, (seconds, _) in zip(precisions, timed, strict=False):
        for title, (peer, _) in zip(found, timed[len(ours) :], strict=True):
            yield Row(
                task=f"{TITLE} in {precision}: {FRAMES} frames read, embedded and written",
                ours=seconds,
                peer_name=f"{title} in fp32",
                peer=peer,
                agreement=f"features in fp32: largest relative difference {gaps[title]:.0e}",
            )


def written(name: str, source: Source, folder: Path) -> Given:
    """Write the frames as PNG files, as the network of a backbone takes them.

    Args:
        name: Name of the backbone.
        source: The source of the frames.
        folder: An absent folder.
    """
    card = backbones.card(name)
    backbone = placed(card.load(), "cpu", "fp32")
    folder.mkdir()
    pictures: list[Path] = []
    for batch in FrameBatches(source, annotated_frames(source)[:FRAMES], card, BATCH):
        for picture in batch:
            pictures.append(folder / f"{len(pictures)}.png")
            cv2.imwrite(str(pictures[-1]), picture)
    return Given(backbone.network.eval(), backbone.normalised, pictures, folder)


def gap(ours: Features, theirs: Array) -> float:
    """Largest difference of their features to the closest key of ours, relative to the largest value."""
    alike = [values for values in ours.pooled.values() if values.shape == theirs.shape]
    differences = [float(np.abs(np.asarray(values) - theirs).max()) for values in alike]
    return min(differences, default=np.inf) / max(float(np.abs(theirs).max()), 1e-30)
