"""What a task is, and the menu that tasks are listed in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from etab.echo.clips import Sampling
from etab.errors import IncompatibleError, UnsupportedOptionError
from etab.metrics import METRICS
from etab.registry import Registry
from etab.tasks.codes import parse_code
from etab.tasks.inputs import ROW_INPUTS
from etab.types import Kind


@dataclass(frozen=True, slots=True)
class Anchors:
    """Where the anchored scale of a task has its 0 (a trivial predictor) and its 1 (a named
    reference).

    Frozen with the task's version: a correction is a new version, so scores of different versions
    never mix.
    """

    low: float
    high: float
    low_source: str
    high_source: str


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the menu.

    inputs: "frame" (every annotated ED or ES frame is a row), "ED" (the ED frame of a recording),
    "ED+ES" (the ED and the ES frame of a recording together, their features concatenated), "answer"
    (every answer is a row, shown by the frame it speaks of, or by the first frame where it speaks
    of the whole recording), or, cut as ``clip`` says, "clip" (one clip from the middle of a
    recording), "clips" (all its clips) or "beats" (a clip for each beat, end-systole in its
    middle: whole beats from the authors' ES frame where there is one, else found by
    ``etab.echo.beats``). A clip is a row. Of sound: "recording" (a recording is a row, its features
    the mean over its windows), or "window" (every window is one).
    unit, aggregate: "" where every row is scored; else the rows of one "recording", "study" or
    "patient" are put together by this rule of ``etab.tasks.aggregate`` before they are scored.
    protocols: the sorts of protocol that there are for it, the primary one first.
    metric: what ``value`` is on the board. metric_2022: the raw number in [0, 1] that enters
        ``etab2022``.
    extra: found by its whole code or its category and index ("b6") only, as it asks for many more
        frames than the rest.
    fit_on: the dataset that a cross-dataset cell is fitted on; "" where it is ``dataset``, on which
        cells are tested.
    version: 0 while the anchors are not measured on the data; such a task is in no suite and runs
    only when its code or its dataset is named.
    """

    code: str
    title: str
    dataset: str
    target: str
    views: tuple[str, ...]
    kind: Kind
    metric: str
    metric_2022: str
    head: str
    inputs: str
    anchors: Anchors
    version: int = 1
    superseded_by: str | None = None
    unit: str = ""
    aggregate: str = ""
    protocols: tuple[str, ...] = ("official", "cv")
    clip: Sampling | None = None
    extra: bool = False
    fit_on: str = ""

    def __post_init__(self) -> None:
        """Refuse inputs that have no name here, and a way of cutting clips for rows that are none.

        Raises:
            UnknownNameError: ``inputs`` is not in ``etab.tasks.inputs.ROW_INPUTS``.
            IncompatibleError: ``clip`` is missing, or would have no effect.
        """
        row = ROW_INPUTS[self.inputs]
        if row.clip and self.clip is None:
            raise IncompatibleError(
                f"{self.code}: its rows are clips (inputs={self.inputs!r}) and it does not say "
                "how its clips are cut; "
                "give clip= a Sampling."
            )
        if self.clip is not None and not row.clip:
            names = ", ".join(name for name, row_input in ROW_INPUTS.items() if row_input.clip)
            raise IncompatibleError(
                f"{self.code}: its rows are {row.words} (inputs={self.inputs!r}), so clip= would "
                "have no effect; the "
                f"inputs that are clips: {names}."
            )

    @property
    def modality(self) -> str:
        """What its rows are: "image" (frames and clips) or "sound" (windows and recordings)."""
        return ROW_INPUTS[self.inputs].modality

    @property
    def reader(self) -> str:
        """The module that reads and embeds its rows; tasks of one dataset, reader and family share
        features.
        """
        return ROW_INPUTS[self.inputs].module

    @property
    def family(self) -> str:
        """What is embedded for it: tasks of one dataset and family share an entry of the feature
        cache.
        """
        rows = f"{self.inputs}: {self.clip}" if self.clip else "annotated"
        return f"{rows}, fitted on {self.fit_on}" if self.fit_on else rows

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that it reads: of a cross-dataset cell the one fitted on, then the one
        tested on.
        """
        return (self.fit_on, self.dataset) if self.fit_on else (self.dataset,)

    @property
    def parts(self) -> tuple[str, ...]:
        """Codes of the rows of the menu that it is made of, in the order of ``datasets``: its own,
        or two.
        """
        if not self.fit_on:
            return (self.code,)
        fitted, tested = self.code.split(">")
        return (fitted, f"{fitted[:-1]}{tested}")

    @property
    def category(self) -> str:
        """The letter of the category."""
        return self.code[0]

    @property
    def low(self) -> float:
        """The value of the trivial predictor: 0 on the anchored scale."""
        return self.anchors.low

    @property
    def high(self) -> float:
        """The value of the named reference: 1 on the anchored scale."""
        return self.anchors.high

    @property
    def better(self) -> int:
        """+1 where a larger value is better, -1 where a smaller one is."""
        return METRICS[self.metric].better

    def anchored(self, value: float) -> float:
        """Put a raw value on the anchored scale; not clipped."""
        return (value - self.low) / (self.high - self.low)


class Menu(Registry[Task]):
    """The rows by code; the code of a cross-dataset cell ("b0-A4-E>C") gives a row made of the two
    on the menu.
    """

    def __getitem__(self, name: str) -> Task:
        """Look a code up; raises UnknownNameError, and UnsupportedOptionError for a pair that asks
        two questions.
        """
        return (
            crossed(self, name)
            if isinstance(name, str) and ">" in name
            else super().__getitem__(name)
        )


_SAME = ("target", "kind", "inputs", "unit", "aggregate", "clip")


def crossed(menu: Registry[Task], code: str) -> Task:
    """The row of a cross-dataset cell: the tested dataset's own, with its metric and anchors,
    fitted on the other.
    """
    parsed = parse_code(code)
    if parsed.dataset == parsed.test_dataset:
        raise UnsupportedOptionError(
            f"{code!r} names one dataset twice; its own cell is {code.split('>')[0]}."
        )
    fitted, tested = (menu[f"{code[:6]}{letter}"] for letter in code[6:].split(">"))
    differ = [name for name in _SAME if getattr(fitted, name) != getattr(tested, name)]
    if differ:
        differences = "; ".join(
            f"{n} {str(getattr(fitted, n))!r} and {str(getattr(tested, n))!r}" for n in differ
        )
        raise UnsupportedOptionError(
            f"{code!r} is no cell: {fitted.code} and {tested.code} differ in {differences}. `etab list "
            "cross` names the pairs."
        )
    low, high = (
        f"{source} (anchor of {tested.code})"
        for source in (tested.anchors.low_source, tested.anchors.high_source)
    )
    return replace(
        tested,
        code=code,
        title=f"{tested.title}, fitted on {fitted.dataset}",
        fit_on=fitted.dataset,
        extra=True,
        anchors=replace(tested.anchors, low_source=low, high_source=high),
        version=min(fitted.version, tested.version),
    )
