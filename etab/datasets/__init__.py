"""Datasets: a Source knows a layout as published, ``Dataset`` knows options. torch loads with
``Dataset`` only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from etab.datasets.base import SOURCES, Card, SoundSource, Source
from etab.datasets.camus import CamusSource
from etab.datasets.cinc2016 import Cinc2016Source
from etab.datasets.circor import CircorSource
from etab.datasets.circor_parquet import CircorParquetSource, CircorProcessedSource
from etab.datasets.dicom import DicomSource
from etab.datasets.echonet import EchoNetSource
from etab.datasets.integrity.canonical import missing_note, verify_split
from etab.datasets.lvh import LvhSource
from etab.datasets.paths import dataset_folder
from etab.datasets.pediatric import PediatricSource
from etab.datasets.tmed import Tmed1Source, TmedSource
from etab.datasets.unity import UnitySource

if TYPE_CHECKING:
    from etab.datasets.dataset import Dataset

    ETAB_dataset = Dataset

__all__ = [
    "SOURCES",
    "CamusSource",
    "Card",
    "Cinc2016Source",
    "CircorParquetSource",
    "CircorProcessedSource",
    "CircorSource",
    "Dataset",
    "DicomSource",
    "ETAB_dataset",
    "EchoNetSource",
    "LvhSource",
    "PediatricSource",
    "SoundSource",
    "Source",
    "UnitySource",
    "Tmed1Source",
    "TmedSource",
    "card",
    "cards",
    "names",
    "source",
    "missing_note",
]


def names() -> list[str]:
    """Names of every dataset that can be opened."""
    return list(SOURCES)


def card(name: str) -> Card:
    """The facts of a dataset, without its data; raises UnknownNameError with a suggestion."""
    return SOURCES[name].card


def cards() -> dict[str, Card]:
    """The facts of every dataset by its name; a board states licences and citations from them."""
    return {name: source.card for name, source in SOURCES.items()}


def source(name: str, root: Path | str | None = None) -> Source:
    """Open a dataset as published; ``etab.datasets.paths`` documents where it is looked for.

    Raises UnknownNameError, DataNotFoundError listing every place looked at, LayoutError, and
    SplitError where real data disagree with their canonical split
    (``etab.datasets.integrity.canonical``).
    """
    found = SOURCES[name](dataset_folder(name, root))
    verify_split(found)
    return found


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "ETAB_dataset"):
        from etab.datasets.dataset import Dataset

        return Dataset
    raise AttributeError(
        f"module 'etab.datasets' has no attribute {name!r}; it has {', '.join(__all__)}"
    )
