"""Task codes such as ``b0-A4-E``: category and index, view, dataset."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from etab.echo.views import VIEW_CODES
from etab.errors import UnknownNameError, UnsupportedOptionError
from etab.registry import unknown

CATEGORIES: Mapping[str, str] = MappingProxyType(
    {
        "a": "cardiac structure",
        "b": "cardiac function",
        "c": "view recognition",
        "d": "diagnosis",
        "e": "heart-sound structure",
        "f": "auscultation",
    }
)


SUITE_PARTS: Mapping[str, str] = MappingProxyType({"echo": "abcd", "heart sounds": "ef"})


class _Letters(Mapping[str, str]):
    """Map the letter of each dataset, as its card states it, to the name of the dataset."""

    def _by_letter(self) -> dict[str, str]:
        from etab.datasets import SOURCES  # deferred: boards import the menu without datasets

        names: dict[str, str] = {}
        for name, source in SOURCES.items():
            names.setdefault(source.card.code, name)
        return names

    def __getitem__(self, letter: str) -> str:
        return self._by_letter()[letter]

    def items(self) -> ItemsView[str, str]:
        """Return all pairs, read from the cards once."""
        return self._by_letter().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_letter())

    def __len__(self) -> int:
        return len(self._by_letter())


DATASET_CODES: Mapping[str, str] = _Letters()


DEFAULT_DATASET = "camus"


def release_of(dataset: str) -> str:
    """Name the release that a dataset is a form of; its forms hold the same patients.

    Args:
        dataset: Name of a dataset.

    Example:
        >>> release_of("circor_hf"), release_of("camus")
        ('circor', 'camus')
    """
    return dataset.split("_")[0]


BOARD_REPEATS = 5
"""How many times the boards divide the patients into folds."""

BOARD_PROTOCOL = f"cv5x{BOARD_REPEATS}"
"""Protocol of the boards: five divisions of the patients into five folds."""


_CODE = re.compile(r"^([a-f])(\d)-([A-Z][A-Z0-9])-([A-Z])(?:>([A-Z]))?$")


@dataclass(frozen=True, slots=True)
class Code:
    """The parts of a task code.

    Attributes:
        category: Letter of the category, a key of ``CATEGORIES``.
        index: Number of the task within its category.
        view: View code, a key of ``etab.echo.views.VIEW_CODES``.
        dataset: Name of the dataset; of a cross-dataset task, the one that models are fitted on.
        test_dataset: Name of the dataset that is tested; the same as ``dataset`` except in a
            cross-dataset task.
    """

    category: str
    index: int
    view: str
    dataset: str
    test_dataset: str

    def __str__(self) -> str:
        """Return the code as a user types it."""
        letters = {name: letter for letter, name in DATASET_CODES.items()}
        cross = "" if self.test_dataset == self.dataset else f">{letters[self.test_dataset]}"
        return f"{self.category}{self.index}-{self.view}-{letters[self.dataset]}{cross}"


def parse_code(text: str) -> Code:
    """Split a task code into its parts.

    Args:
        text: A code such as "a0-A4-C", or "b0-A4-E>C" for a cross-dataset task.

    Returns:
        The parts, with the names of the datasets instead of their letters.

    Raises:
        UnknownNameError: The text is not a code, or its view or dataset does not exist.

    Example:
        >>> parse_code("b0-A4-E").dataset
        'echonet'
    """
    from etab.datasets import SOURCES  # deferred: boards import the menu without datasets

    return _parsed(text, tuple(SOURCES))


@lru_cache(maxsize=4096)
def _parsed(text: str, _datasets: tuple[str, ...]) -> Code:
    """``parse_code``, once for each text until a dataset is added or removed."""
    match = _CODE.match(text)
    if not match:
        raise UnknownNameError(
            f"{text!r} is not a task code. A code is category+index, view, dataset: 'a0-A4-C' (or "
            "'b0-A4-E>C')."
        )
    category, index, view, dataset, test = match.groups()
    if view not in VIEW_CODES:
        raise unknown("view code", view, VIEW_CODES)
    names = dict(DATASET_CODES.items())
    for letter in (dataset, test or dataset):
        if letter not in names:
            raise unknown("dataset code", letter, names)
    return Code(category, int(index), view, names[dataset], names[test or dataset])


def task_words(codes: str | Iterable[str]) -> list[str]:
    """Split what names tasks into its words.

    Args:
        codes: Words in a list, or separated by commas.

    Raises:
        UnsupportedOptionError: It is neither a text nor a list of texts.

    Example:
        >>> task_words("b0, d0"), task_words(["b0", "d0,e0"])
        (['b0', 'd0'], ['b0', 'd0', 'e0'])
    """
    texts = [codes] if isinstance(codes, str) else codes
    if not isinstance(texts, Iterable):
        raise UnsupportedOptionError(f"tasks is {codes!r}; wanted codes, such as 'b0-A4-C,d0'.")
    words: list[str] = []
    for text in texts:
        if not isinstance(text, str):
            raise UnsupportedOptionError(f"tasks lists {text!r}; wanted codes, such as 'b0-A4-C'.")
        words += [word.strip() for word in text.split(",")]
    return words
