"""Controls of sound that hear nothing, or nothing but envelopes: what a record's own facts give
away.

They read recordings of a source rather than windows: ``describe(source, keys)``, a row a window.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.backbones.registered import BACKBONES, Entry
from etab.backbones.sound.timing import features_of
from etab.errors import UnsupportedOptionError
from etab.sounds.envelopes import KINDS, band_levels, envelopes
from etab.sounds.states import STATE_RATE
from etab.types import Array, Features, FloatArray, Record

AGES = ("Neonate", "Infant", "Child", "Adolescent", "Young Adult")
_CONTROLS: Mapping[str, str] = {
    "constant": "the same for every recording: what the training answers alone are worth",
    "database_only": "the database or campaign of a recording, and nothing of its sound",
    "demographics": "age group, sex, height, weight and pregnancy, and nothing of the sound",
    "envelopes": "four envelopes at 50 Hz, and their statistics",
    "heart_series": "four envelopes and sixteen bands from 25 to 400 Hz at 50 Hz, and their statistics",
    "timing_features": "intervals and amplitudes of the heart cycle, segmented by a model of phantom sounds",
}
_SERIES = ("envelopes", "heart_series")
_STILL = (
    "constant",
    "database_only",
    "demographics",
)  # in a task of states, the same at every moment


def names() -> list[str]:
    """Names in the order of the table."""
    return [*_CONTROLS]


def card(name: str, seed: int | None = None) -> BackboneCard:
    """The card of a control; raises UnsupportedOptionError for its random twin."""
    if seed is not None:
        raise UnsupportedOptionError(f"{name} has no weights, so it has no random twin.")
    blank = BackboneCard(
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
    return replace(blank, load=partial(_load, name, blank))


def _load(name: str, card: BackboneCard) -> Any:
    kinds: Mapping[str, Callable[[BackboneCard], _OfRecords]] = {
        "constant": Constant,
        "database_only": DatabaseOnly,
        "demographics": Demographics,
        "envelopes": Envelopes,
        "heart_series": HeartSeries,
        "timing_features": TimingFeatures,
    }
    return kinds[name](card)


class _OfRecords(ABC):
    """No weights: the digest is that of the definition's name and version."""

    def __init__(self, card: BackboneCard) -> None:
        self.card = card

    def digest(self) -> str:
        """sha256 of the definition's name and version."""
        return hashlib.sha256(f"{self.card.name} v{self.card.version}".encode()).hexdigest()

    @abstractmethod
    def describe(self, source: Any, keys: Sequence[tuple[Record, float, float]]) -> Features:
        """Features of the windows (record, start, length)."""


class _Facts(_OfRecords):
    """One layer: facts of whole recordings, the same on every window of one."""

    def describe(self, source: Any, keys: Sequence[tuple[Record, float, float]]) -> Features:
        """One layer, (windows, facts)."""
        records = {record.id: record for record, _, _ in keys}
        rows = dict(zip(records, self.facts(source, list(records.values())), strict=True))
        return Features(
            {"facts/all": np.stack([rows[record.id] for record, _, _ in keys]).astype(np.float32)}
        )

    @abstractmethod
    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """(records, facts), finite."""


class Constant(_Facts):
    """One column of ones."""

    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """(records, 1)."""
        return np.ones((len(records), 1))


class DatabaseOnly(_Facts):
    """Which database (CinC 2016) or campaign (CirCor) a recording is of."""

    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """A column a name."""
        return _onehot(
            [str(r.meta.get("database", r.meta.get("campaign", "unknown"))) for r in records]
        )


class Demographics(_Facts):
    """Age group, sex, height, weight, pregnancy; what is unknown is 0 with a column that says so."""

    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """(records, facts); heights and weights in units of 100 cm and 30 kg."""
        ages = [str(r.meta.get("age", "unknown")) for r in records]
        columns = [np.array([float(a == name) for a in ages]) for name in (*AGES, "unknown")]
        for name, scale in (("height", 100.0), ("weight", 30.0)):
            values = [r.meta.get(name) for r in records]
            columns += [
                np.array([0.0 if v is None else float(v) / scale for v in values]),
                np.array([float(v is None) for v in values]),
            ]
        for name, word in (("sex", "Female"), ("pregnant", "True")):
            columns.append(np.array([float(r.meta.get(name) == word) for r in records]))
        return np.stack(columns, axis=1)


class Envelopes(_OfRecords):
    """Series (k, 4) at 50 Hz of whole recordings for heads of states, and statistics of them for
    the others.
    """

    def describe(self, source: Any, keys: Sequence[tuple[Record, float, float]]) -> Features:
        """Statistics of the recording's envelopes on every of its windows; the series by recording
        as the one map.
        """
        records = {record.id: record for record, _, _ in keys}
        series = {
            name: self.series(*_heard(source, record), name=name)
            for name, record in records.items()
        }
        levels = np.linspace(0.05, 0.95, 10)
        marks = {name: np.quantile(x, levels, axis=0).ravel() for name, x in series.items()}
        beats = {name: _echo(x) for name, x in series.items()}
        rows = [record.id for record, _, _ in keys]
        pooled = {
            "envelopes/quantiles": marks,
            "envelopes/autocorrelation": beats,
            "envelopes/both": {n: np.concatenate([marks[n], beats[n]]) for n in marks},
        }
        return Features(
            {k: np.stack([v[r] for r in rows]).astype(np.float32) for k, v in pooled.items()},
            series=series,
        )

    def series(self, samples: FloatArray, rate: int, name: str) -> FloatArray:
        """(k, 4) of a sound (n,)."""
        return envelopes(samples, rate, name=name)


class HeartSeries(Envelopes):
    """Series (k, 20) at 50 Hz: the envelopes, homomorphic first, then the levels of sixteen bands."""

    def series(self, samples: FloatArray, rate: int, name: str) -> FloatArray:
        """(k, 20) of a sound (n,)."""
        return np.hstack(
            [envelopes(samples, rate, name=name), band_levels(samples, rate, name=name)]
        )


class TimingFeatures(_Facts):
    """The twenty features of the sample entry of CinC 2016, one layer."""

    def facts(self, source: Any, records: Sequence[Record]) -> FloatArray:
        """(records, 20)."""
        return np.stack(
            [features_of(*_heard(source, record), name=record.id) for record in records]
        )


def _heard(source: Any, record: Record) -> tuple[FloatArray, int]:
    """A recording (n,) and its rate in Hz."""
    samples, rate = source.wave(record)
    return samples, rate


def _echo(x: FloatArray) -> Array:
    """Autocorrelation of each envelope (k, 4) at lags of 0.1 to 2 s."""
    n = len(x)
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(x, size, axis=0)) ** 2
    found = np.fft.irfft(power, size, axis=0)[: 2 * STATE_RATE + 1]
    found = np.pad(found, ((0, max(0, 2 * STATE_RATE + 1 - len(found))), (0, 0)))
    return np.asarray((found / np.maximum(found[:1], 1e-12))[STATE_RATE // 10 :: 2].ravel())


def _onehot(words: Sequence[str]) -> FloatArray:
    names = sorted(set(words))
    return np.array([[float(word == name) for name in names] for word in words])


WIDTH = len(KINDS)


for _name in names():
    BACKBONES.add(_name, Entry(card, "sound"))
