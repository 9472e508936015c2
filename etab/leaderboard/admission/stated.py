"""Settings and lists of a record: plain values of bounded size, without contradictions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from etab.precisions import NAMED
from etab.results import Predictions, Result
from etab.results.fields import is_number
from etab.results.notes import LONGEST_NOTE, MOST_NOTES

_MOST_METRICS = 100
_LARGEST_NUMBER = 100_000
_LARGEST_VERSION = (1 << 48) - 1  # of a model of transformers: a digest of its settings
_NUMBERS = (
    "head_version",
    "runs_version",
    "split_version",
    "backbone_version",
    "size",
    "n_fold",
)
_WORDS = ("family", "interpolation")
_WORD = re.compile(r"[A-Za-z0-9 ._-]{0,40}")
_KEY = re.compile(r"[A-Za-z0-9._:/@+-]{0,200}")
_FACT = re.compile(r"[A-Za-z0-9 ._-]{1,60}")
_MOST_FACTS = 100
_LONGEST_FACT = 300
_LONGEST_REASON = 2000
_LONGEST_RUN = 1e9  # seconds


def wrong_statements(result: Result, table: Predictions) -> Iterator[str]:
    """Name what a record states in a form that no run writes, or that its predictions contradict.

    Args:
        result: The record.
        table: Its predictions.

    Yields:
        One sentence for each.
    """
    for name in _NUMBERS:
        number = result.settings.get(name)
        largest = _LARGEST_VERSION if name == "backbone_version" else _LARGEST_NUMBER
        if number is not None and not _is_number(number, largest):
            yield f"its {name} is {_short(number)}; wanted a whole number up to {largest}"
    precision = result.settings.get("precision", "")
    if precision not in ("", None, *NAMED):
        yield f"its precision is {_short(precision)}; etab computes in {', '.join(NAMED)}"
    for name in _WORDS:
        word = result.settings.get(name)
        if word is not None and not (isinstance(word, str) and _WORD.fullmatch(word)):
            yield f"its {name} is {_short(word)}; wanted at most 40 letters, digits, spaces, . _ -"
    yield from wrong_notes(result)
    yield from _wrong_provenance(result)
    yield from _wrong_missing(result)
    if not _KEY.fullmatch(result.features_key):
        yield f"its features_key is {_short(result.features_key)}; wanted letters, digits, . _ : / -"
    if len(result.metrics) > _MOST_METRICS:
        yield f"it states {len(result.metrics)} metrics; wanted at most {_MOST_METRICS}"
    missing = {item for item, _ in result.missing}.intersection(table.items)
    if missing:
        yield f"{_short(min(missing))} is listed as missing and is among its predictions"


def wrong_notes(result: Result) -> Iterator[str]:
    """Name notes that are not short texts; a board shows the notes of its results.

    Args:
        result: The record.

    Yields:
        At most one sentence.
    """
    notes = result.settings.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        yield f"its notes are {_short(notes)}; wanted a list of strings"
    elif len(notes) > MOST_NOTES or any(len(note) > LONGEST_NOTE for note in notes):
        yield f"its notes are more than {MOST_NOTES}, or longer than {LONGEST_NOTE} characters"


def started_at(result: Result) -> datetime | None:
    """Read when a result says that it was started.

    Args:
        result: The record.

    Returns:
        The time; None where the record states none, or what it states is not a time with a time zone.
    """
    try:
        started = datetime.fromisoformat(result.provenance["started"])
    except (KeyError, TypeError, ValueError):
        return None
    return started if started.tzinfo else None


def _wrong_provenance(result: Result) -> Iterator[str]:
    """Provenance that no run writes: pages and messages show parts of it."""
    if len(result.provenance) > _MOST_FACTS:
        yield f"its provenance holds {len(result.provenance)} facts; wanted at most {_MOST_FACTS}"
        return
    for name, fact in result.provenance.items():
        if not _FACT.fullmatch(name):
            yield f"its provenance names {_short(name)}; wanted 1 to 60 letters, digits, spaces, . _ -"
            return
        is_text = isinstance(fact, str) and len(fact) <= _LONGEST_FACT and fact.isprintable()
        if not (is_text or fact is None or isinstance(fact, bool) or is_number(fact)):
            yield (
                f"its provenance says of {_short(name)}: {_short(fact)}; wanted text of at most "
                f"{_LONGEST_FACT} printable characters, a number, true or false"
            )
            return
    seconds = result.provenance.get("seconds", 0)
    if not is_number(seconds) or not 0 <= seconds < _LONGEST_RUN:
        yield f"its provenance says that it took {_short(seconds)} seconds"
    if "started" in result.provenance and started_at(result) is None:
        yield (
            f"its provenance says that it was started at {_short(result.provenance['started'])}; "
            "wanted a time such as 2026-01-31T12:00:00+00:00"
        )


def _wrong_missing(result: Result) -> Iterator[str]:
    """The recordings listed as missing: short texts, each recording once."""
    if any(len(text) > _LONGEST_REASON for words in result.missing for text in words):
        yield f"it lists as missing what is longer than {_LONGEST_REASON} characters"
        return
    counts = Counter(item for item, _ in result.missing)
    twice = [item for item, count in counts.items() if count > 1]
    if twice:
        yield f"{_short(twice[0])} is listed as missing twice"


def _is_number(value: Any, largest: int) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and 0 <= value <= largest


def _short(value: Any) -> str:
    return ascii(str(value)[:40])
