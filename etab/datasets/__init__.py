"""Datasets: a Source reads a layout as published, ``Dataset`` gives its recordings by options.

Every module of this folder that registers a source is found here: a new dataset is one new file.
torch is imported with ``Dataset`` and not before.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etab.datasets.base import SOURCES, Card, SoundSource, Source
from etab.datasets.bmdhs import BmdhsSource
from etab.datasets.camus import CamusSource
from etab.datasets.cinc2016 import Cinc2016Source
from etab.datasets.circor import CircorSource
from etab.datasets.circor_parquet import CircorParquetSource, CircorProcessedSource
from etab.datasets.dicom import DicomSource
from etab.datasets.echonet import EchoNetSource
from etab.datasets.echorisk import EchoRiskSource
from etab.datasets.echoxflow import EchoXFlowSource
from etab.datasets.integrity.canonical import missing_note, verify_split
from etab.datasets.lvh import LvhSource
from etab.datasets.mimic_echo import MimicEchoSource
from etab.datasets.paths import dataset_folder
from etab.datasets.pediatric import PediatricSource
from etab.datasets.tmed import Tmed1Source, TmedSource
from etab.datasets.unity import UnitySource
from etab.datasets.unitylv import UnityLvSource

if TYPE_CHECKING:
    from etab.datasets.dataset import Dataset

    ETAB_dataset = Dataset

__all__ = [
    "SOURCES",
    "BmdhsSource",
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
    "EchoRiskSource",
    "EchoXFlowSource",
    "LvhSource",
    "MimicEchoSource",
    "PediatricSource",
    "SoundSource",
    "Source",
    "UnityLvSource",
    "UnitySource",
    "Tmed1Source",
    "TmedSource",
    "card",
    "cards",
    "names",
    "source",
    "missing_note",
]

# Modules that import torch; they register no source.
_WITH_TORCH = frozenset({"dataset", "options", "pictures", "windows"})

for _module in pkgutil.iter_modules(__path__):
    if not _module.ispkg and _module.name not in _WITH_TORCH:
        importlib.import_module(f"{__name__}.{_module.name}")


def names() -> list[str]:
    """List the names of every dataset.

    Example:
        >>> from etab import datasets
        >>> "camus" in datasets.names()
        True
    """
    return list(SOURCES)


def card(name: str) -> Card:
    """Look up the facts of a dataset; its data are not needed.

    Args:
        name: Name of the dataset.

    Raises:
        UnknownNameError: There is no such dataset; the message suggests a similar name.

    Example:
        >>> from etab import datasets
        >>> datasets.card("camus").views
        ('A2C', 'A4C')
    """
    return SOURCES[name].card


def cards() -> dict[str, Card]:
    """Collect the facts of every dataset by its name, for licences and citations on a board."""
    return {name: source.card for name, source in SOURCES.items()}


def source(name: str, root: Path | str | None = None) -> Source:
    """Open a dataset as published.

    Args:
        name: Name of the dataset.
        root: Its folder; None tries the folders that ``etab.datasets.paths`` lists.

    Returns:
        The source. Real data agree with their canonical split
        (``etab.datasets.integrity.canonical``); phantom data are not compared.

    Raises:
        UnknownNameError: There is no such dataset.
        DataNotFoundError: There is no folder; the message lists every folder that was tried.
        LayoutError: The folder has another layout.
        SplitError: Real data disagree with their canonical split.
    """
    opened = SOURCES[name](dataset_folder(name, root))
    verify_split(opened)
    return opened


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "ETAB_dataset"):
        from etab.datasets.dataset import Dataset

        return Dataset
    raise AttributeError(
        f"module 'etab.datasets' has no attribute {name!r}; it has {', '.join(__all__)}"
    )
