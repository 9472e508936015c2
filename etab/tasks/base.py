"""The definition of a task, and the registry that holds all tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from etab.echo.clips import Sampling
from etab.errors import IncompatibleError, UnsupportedOptionError
from etab.metrics import METRICS
from etab.registry import Registry
from etab.tasks.codes import parse_code, release_of
from etab.tasks.inputs import ROW_INPUTS
from etab.types import Kind

POOLED_HEAD = "stack"
"""Head of the tasks that read pooled features: values and classes."""

MASK_HEAD = "mask_logistic"
"""Head of the tasks that read maps: a linear classifier of every point."""

WITHIN_FOLDS = 2
"""Version of the tasks whose AUROC was pooled over folds in version 1."""

CHANCE = "chance: the score of a guess"
"""Source of a lower anchor that no data are needed for."""

PERFECT = "perfect answer"
"""Source of the upper anchor of a metric that ends there."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """The two values that define the anchored scale of a task.

    The anchors belong to the version of the task. A correction makes a new version, so that
    scores of different versions are never compared.

    Attributes:
        low: Value of a trivial predictor; 0 on the anchored scale.
        high: Value of a named reference; 1 on the anchored scale.
        low_source: Where ``low`` comes from.
        high_source: Where ``high`` comes from.
    """

    low: float
    high: float
    low_source: str
    high_source: str


@dataclass(frozen=True, slots=True)
class Task:
    """One task: target, rows that are embedded, head, metric and anchored scale.

    Attributes:
        code: Code, "<category><index>-<view>-<dataset>".
        title: Description for tables.
        dataset: Name of the dataset that is tested.
        target: Name of a target on the card of the dataset.
        views: Views whose recordings are used.
        kind: Kind of the target.
        metric: Name of the metric on the board.
        metric_2022: Name of the metric in [0, 1] that enters the score ``etab2022``.
        head: Name of the default head.
        inputs: Kind of the rows, a key of ``etab.tasks.inputs.ROW_INPUTS``. "frame": every
            annotated ED or ES frame. "ED": the ED frame of a recording. "ED+ES": both frames of a
            recording, their features concatenated. "views": both frames of every view of a
            patient, their features concatenated; "views:answer", "views:clip" and
            "views:recording" lay the rows of these inputs side by side, one block a view. "answer": every reference value, with its frame,
            or with the first frame if the value describes the whole recording. "clip", "clips"
            and "beats": clips that are cut by ``clip``: one from the middle of the
            recording, all of them, or one a beat with end-systole in its middle. Beats are
            counted from the authors' ES frame if there is one, otherwise from the frame that
            ``etab.echo.beats`` finds. "window": every window of a sound. "recording": the mean of
            the features over all windows of a sound.
        anchors: The anchored scale.
        version: Version of the task; 0 until the anchors are measured on the data. A task of
            version 0 is in no suite and runs only if its code or its dataset is named.
        superseded_by: Code of the task that replaces this one; None if it is current.
        unit: Unit that is scored: "recording", "study" or "patient"; "" scores every row.
        aggregate: Rule of ``etab.tasks.aggregate`` that combines the rows of a unit; "" where the
            metric itself is a mean over units.
        protocols: Kinds of protocol that the task allows, the primary one first.
        clip: How clips are cut; None if the rows are not clips.
        extra: Whether the task is selected only by its full code or by category and index ("b6"),
            because it needs many more frames than the others, or is outside the published suites.
        fit_on: Dataset that a cross-dataset task is fitted on; "" if that is ``dataset``.
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
        """Check that ``inputs`` exists and that ``clip`` is given exactly if the rows are clips.

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
        """Modality of the rows: "image" (frames and clips) or "sound" (windows and recordings)."""
        return ROW_INPUTS[self.inputs].modality

    @property
    def reader(self) -> str:
        """Module that reads and embeds the rows.

        Tasks of one dataset, reader and family share features.
        """
        return ROW_INPUTS[self.inputs].module

    @property
    def family(self) -> str:
        """Key of what is embedded.

        Tasks of one dataset and family share an entry of the feature cache.
        """
        rows = f"{self.one_view.inputs}: {self.clip}" if self.clip else "annotated"
        return f"{rows}, fitted on {self.fit_on}" if self.fit_on else rows

    @property
    def one_view(self) -> Task:
        """The task with a row for each recording, where its rows hold several views side by side.

        It is the task itself otherwise.
        """
        one_view = ROW_INPUTS[self.inputs].of
        if not one_view:
            return self
        return replace(self, inputs=one_view, unit=self.unit or "patient", aggregate="")

    @property
    def datasets(self) -> tuple[str, ...]:
        """Datasets that the task reads: the fitted one, then the tested one if it is another."""
        return (self.fit_on, self.dataset) if self.fit_on else (self.dataset,)

    @property
    def parts(self) -> tuple[str, ...]:
        """Codes of the tasks that this one is made of, in the order of ``datasets``."""
        if not self.fit_on:
            return (self.code,)
        fitted, tested = self.code.split(">")
        return (fitted, f"{fitted[:-1]}{tested}")

    @property
    def category(self) -> str:
        """Letter of the category."""
        return self.code[0]

    @property
    def low(self) -> float:
        """Value of the trivial predictor, 0 on the anchored scale."""
        return self.anchors.low

    @property
    def high(self) -> float:
        """Value of the named reference, 1 on the anchored scale."""
        return self.anchors.high

    @property
    def better(self) -> int:
        """+1 if larger values of the metric are better, otherwise -1."""
        return METRICS[self.metric].better

    def anchored(self, value: float) -> float:
        """Convert a value of the metric to the anchored scale.

        Args:
            value: Value of the metric.

        Returns:
            0 at ``low`` and 1 at ``high``; the result is not clipped.
        """
        return (value - self.low) / (self.high - self.low)


class Menu(Registry[Task]):
    """Registry of tasks by code.

    The code of a cross-dataset task ("b0-A4-E>C") gives a task that combines two of the registry.
    """

    def __getitem__(self, name: str) -> Task:
        """Look up a task by its code.

        Raises:
            UnknownNameError: There is no such task.
            UnsupportedOptionError: The two tasks of a cross-dataset code differ in what they
                predict.
        """
        return (
            crossed(self, name)
            if isinstance(name, str) and ">" in name
            else super().__getitem__(name)
        )


_SAME = ("target", "kind", "inputs", "unit", "aggregate", "clip")


def crossed(menu: Registry[Task], code: str) -> Task:
    """Build a cross-dataset task: the task of the tested dataset, fitted on another dataset.

    Args:
        menu: The tasks by code.
        code: Code of the cross-dataset task ("b0-A4-E>C").

    Returns:
        The tested task with its metric and anchors, and ``fit_on`` set to the other dataset.

    Raises:
        UnknownNameError: One of the two tasks does not exist.
        UnsupportedOptionError: Both datasets hold the same patients, or the two tasks differ in
            target, kind, inputs, unit, aggregation or clips.
    """
    parsed = parse_code(code)
    if parsed.dataset == parsed.test_dataset:
        raise UnsupportedOptionError(
            f"{code!r} names one dataset twice; its own cell is {code.split('>')[0]}."
        )
    if release_of(parsed.dataset) == release_of(parsed.test_dataset):
        raise UnsupportedOptionError(
            f"{code!r} is not a cell: {parsed.dataset} and {parsed.test_dataset} hold the same "
            "patients, so that test patients would be trained on. `etab list cross` names the "
            "pairs."
        )
    fitted, tested = (menu[f"{code[:6]}{letter}"] for letter in code[6:].split(">"))
    if ROW_INPUTS[tested.inputs].several_views:
        raise UnsupportedOptionError(
            f"{code!r} is not a cell: rows of {tested.code} are {ROW_INPUTS[tested.inputs].words}, "
            "and two datasets hold different views. Cross the tasks on one view."
        )
    differ = [name for name in _SAME if getattr(fitted, name) != getattr(tested, name)]
    if differ:
        differences = "; ".join(
            f"{n} {str(getattr(fitted, n))!r} and {str(getattr(tested, n))!r}" for n in differ
        )
        raise UnsupportedOptionError(
            f"{code!r} is not a cell: {fitted.code} and {tested.code} differ in {differences}. "
            "`etab list cross` names the pairs."
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
