"""Controls of sound that use metadata or envelopes: what a recording reveals without its sound.

They read recordings of a source instead of windows: ``describe(source, keys)`` returns one row for
each window.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from etab.backbones.base import BackboneCard, refuse_twin_of_control
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.sound.timing import timing_of
from etab.sounds.envelopes import band_levels, envelopes
from etab.sounds.semimarkov import HOMOMORPHIC, WAVELET
from etab.sounds.states import STATE_RATE
from etab.types import Array, Features, FloatArray, Record

AGES = ("Neonate", "Infant", "Child", "Adolescent", "Young Adult")
# Title of each control.
_CONTROLS: Mapping[str, str] = {
    "constant": "the same for every recording: what the training answers alone are worth",
    "database_only": "the database or campaign of a recording, and nothing of its sound",
    "demographics": "age group, sex, height, weight and pregnancy, and nothing of the sound",
    "envelopes": "four envelopes at 50 Hz, and their statistics",
    "heart_series": (
        "four envelopes and sixteen bands from 25 to 400 Hz at 50 Hz, and their statistics"
    ),
    "timing_features": (
        "intervals and amplitudes of the heart cycle, segmented by a model of phantom sounds"
    ),
    "timing_wavelet": "the same, with the heart rate of the wavelet envelope",
}
_SERIES = ("envelopes", "heart_series")
# In a task of states, these are the same at every moment.
_STILL = ("constant", "database_only", "demographics")


def _control_card(name: str, seed: int | None = None) -> BackboneCard:
    """The card of a control; raises UnsupportedOptionError with a seed."""
    refuse_twin_of_control(name, seed)
    draft = BackboneCard(
        name,
        _CONTROLS[name],
        family="control",
        modality="record",
        size=0,
        mean=(),
        std=(),
        interpolation="",
        layers=("envelopes",) if name in _SERIES else ("facts",),
        learned=False,
        licence="BSD-3-Clause",
        source="etab",
        series=STATE_RATE if name in _SERIES else None,
        timed=("facts",) if name in _STILL else (),
    )
    return replace(draft, load=partial(_load, name, draft))


def _load(name: str, card: BackboneCard) -> Any:
    classes: Mapping[str, Callable[[BackboneCard], _OfRecords]] = {
        "constant": Constant,
        "database_only": DatabaseOnly,
        "demographics": Demographics,
        "envelopes": Envelopes,
        "heart_series": HeartSeries,
        "timing_features": TimingFeatures,
        "timing_wavelet": TimingWavelet,
    }
    return classes[name](card)


class _OfRecords(ABC):
    """A control without weights."""

    def __init__(self, card: BackboneCard) -> None:
        self.card = card

    def digest(self) -> str:
        """Return the sha256 of the name and version of the definition."""
        return hashlib.sha256(f"{self.card.name} v{self.card.version}".encode()).hexdigest()

    @abstractmethod
    def describe(self, source: Any, keys: Sequence[tuple[Record, float, float]]) -> Features:
        """Compute the features of windows.

        Args:
            source: The source of the recordings.
            keys: (record, start, length) of each window, in seconds.
        """


class _Facts(_OfRecords):
    """A control with one layer of facts, which are the same for all windows of a recording."""

    def describe(self, source: Any, keys: Sequence[tuple[Record, float, float]]) -> Features:
        """Compute the layer "facts/all" (windows, facts); arguments as in the base class."""
        records = {record.id: record for record, _, _ in keys}
        facts = self.facts(source, list(records.values()))
        by_id = dict(zip(records, facts, strict=True))
        rows = np.stack([by_id[record.id] for record, _, _ in keys])
        return Features({"facts/all": rows.astype(np.float32)})

    @abstractmethod
    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """Compute the facts of recordings.

        Args:
            source: The source of the recordings.
            records: The recordings.

        Returns:
            Finite numbers (records, facts).
        """


class Constant(_Facts):
    """One column of ones."""

    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """Return ones (records, 1), whatever the ``source``."""
        return np.ones((len(records), 1))


class DatabaseOnly(_Facts):
    """The database (CinC 2016) or campaign (CirCor) of a recording, one column for each."""

    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """Return one-hot columns (records, databases) from the metadata; ``source`` is not read."""
        names = []
        for record in records:
            campaign = record.meta.get("campaign", "unknown")
            names.append(str(record.meta.get("database", campaign)))
        return _one_hot(names)


class Demographics(_Facts):
    """Age group, height, weight, sex and pregnancy of the patient."""

    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """Encode the demographics in the metadata; ``source`` is not read.

        Args:
            source: Not read.
            records: The recordings.

        Returns:
            (records, 12): seven columns of age groups, height in units of 100 cm and a column that
            is 1 where it is unknown, weight in units of 30 kg likewise, female sex, pregnancy.
            Unknown values are 0.
        """
        ages = [str(record.meta.get("age", "unknown")) for record in records]
        columns = []
        for name in (*AGES, "unknown"):
            columns.append(np.array([float(age == name) for age in ages]))
        for name, scale in (("height", 100.0), ("weight", 30.0)):
            values = [record.meta.get(name) for record in records]
            columns.append(np.array([0.0 if v is None else float(v) / scale for v in values]))
            columns.append(np.array([float(v is None) for v in values]))
        for name, word in (("sex", "Female"), ("pregnant", "True")):
            columns.append(np.array([float(r.meta.get(name) == word) for r in records]))
        return np.stack(columns, axis=1)


class Envelopes(_OfRecords):
    """Four envelopes at 50 Hz: as series for heads of states, as statistics for other heads."""

    def describe(self, source: Any, keys: Sequence[tuple[Record, float, float]]) -> Features:
        """Compute the features of windows.

        Args:
            source: The source of the recordings.
            keys: (record, start, length) of each window, in seconds.

        Returns:
            Quantiles and autocorrelations of the envelopes of the whole recording, one row for
            each window, and the series (k, 4) by recording.
        """
        series = {}
        statistics: dict[str, dict[str, Array]] = {}
        levels = np.linspace(0.05, 0.95, 10)
        for name, record in {record.id: record for record, _, _ in keys}.items():
            samples, rate = source.wave(record)
            values = self.series(samples, rate, name=name)
            quantiles = np.quantile(values, levels, axis=0).ravel()
            autocorrelation = _autocorrelation(values)
            series[name] = values
            statistics[name] = {
                "envelopes/quantiles": quantiles,
                "envelopes/autocorrelation": autocorrelation,
                "envelopes/both": np.concatenate([quantiles, autocorrelation]),
            }
        pooled = {}
        for layer in ("envelopes/quantiles", "envelopes/autocorrelation", "envelopes/both"):
            rows = np.stack([statistics[record.id][layer] for record, _, _ in keys])
            pooled[layer] = rows.astype(np.float32)
        return Features(pooled, series=series)

    def series(
        self,
        samples: FloatArray,
        rate: int,
        name: str,
    ) -> FloatArray:
        """Compute the series of a recording.

        Args:
            samples: Waveform (n,).
            rate: Sampling rate in Hz.
            name: Name of the recording in errors.

        Returns:
            (k, 4) at 50 Hz.
        """
        return envelopes(samples, rate, name=name)


class HeartSeries(Envelopes):
    """The four envelopes, homomorphic first, and the levels of sixteen bands, at 50 Hz."""

    def series(
        self,
        samples: FloatArray,
        rate: int,
        name: str,
    ) -> FloatArray:
        """Compute the series (k, 20) of a recording.

        Args:
            samples: Waveform (n,).
            rate: Sampling rate in Hz.
            name: Name of the recording in errors.
        """
        values = envelopes(samples, rate, name=name)
        return np.hstack([values, band_levels(samples, rate, name=name)])


class TimingFeatures(_Facts):
    """The twenty features of the sample entry of CinC 2016."""

    beat: ClassVar[str] = HOMOMORPHIC

    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """Compute the features (records, 20).

        Args:
            source: The source of the recordings.
            records: The recordings.
        """
        rows = []
        for record in records:
            samples, rate = source.wave(record)
            rows.append(timing_of(samples, rate, name=record.id, beat=self.beat))
        return np.stack(rows)


class TimingWavelet(TimingFeatures):
    """The same features, segmented with the heart rate of the wavelet envelope."""

    beat: ClassVar[str] = WAVELET


def _autocorrelation(x: FloatArray) -> Array:
    """Autocorrelation of each envelope (k, 4) at lags of 0.1 to 2 s, every 40 ms, flattened."""
    n = len(x)
    longest = 2 * STATE_RATE
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(x, size, axis=0)) ** 2
    products = np.fft.irfft(power, size, axis=0)[: longest + 1]
    missing = max(0, longest + 1 - len(products))
    products = np.pad(products, ((0, missing), (0, 0)))
    normalised = products / np.maximum(products[:1], 1e-12)
    return np.asarray(normalised[STATE_RATE // 10 :: 2].ravel())


def _one_hot(words: Sequence[str]) -> FloatArray:
    names = sorted(set(words))
    return np.array([[float(word == name) for name in names] for word in words])


for _name in _CONTROLS:
    BACKBONES.add(_name, Entry(_control_card, "sound"))
