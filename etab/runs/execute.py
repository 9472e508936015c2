"""Running a plan: features first, then every cell that needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from etab import __version__
from etab.backbones.base import BackboneCard
from etab.backbones.own.vectors import FAMILY as SUPPLIED
from etab.errors import EtabError, FeaturesLostError, StorageError
from etab.features.base import Embedding, input_of
from etab.features.recordings import layered
from etab.features.store import WAIT, FrameFeatures
from etab.features.supplied import supplied_features
from etab.results import Predictions, Result
from etab.runs import cross
from etab.runs.cell import compute, precision_of_run, refuse_leaks, settings_of
from etab.runs.data import Data
from etab.runs.failed_cells import (
    FailedCell,
    describe_kind,
    forget_failure,
    has_record,
    record_failure,
    recorded_failure,
)
from etab.runs.failures import is_interruption
from etab.runs.fit_claims import FitClaims
from etab.runs.record import is_of_backbone, path_of_run, stored_result
from etab.runs.run import Failed, OnCell, Run, Settings, reads_maps
from etab.runs.run_log import cell_facts, logged, note_failure, write_failed_cell
from etab.runs.saver import Saver
from etab.storage.claims import claimed
from etab.storage.machine import limit_threads, require_device
from etab.storage.memory import give_back
from etab.storage.watchdog import progressed, wait_for_others
from etab.tasks.base import Task
from etab.tasks.menu import TASKS

CLAIMS = ".claims"
"""Folder of the claims of cells, in a folder of results."""


def finished(run: Run, settings: Settings, data: Data | None = None) -> Result | None:
    """Find the saved result of a cell.

    Args:
        run: The cell.
        settings: How the plan is run.
        data: The data of the plan; None opens them anew.

    Returns:
        The result, or None when the cell has to be run.

    Raises:
        ResultError: If a result is there that would not come out today. Results are never
            overwritten.
    """
    data = data or Data(settings)
    facts = settings_of(run, precision_of_run(run, settings), data)
    stored = stored_result(run, facts, settings, data)
    if stored is None or not is_of_backbone(run, stored, settings):
        return None
    return stored


def facts_of_cell(run: Run, settings: Settings, data: Data) -> dict[str, Any]:
    """List what decides a cell, beside the content of its weights.

    Args:
        run: The cell.
        settings: How the plan is run.
        data: The data of the plan.

    Returns:
        The facts that resuming compares, and the digest of the data.
    """
    facts = settings_of(run, precision_of_run(run, settings), data)
    return {
        **facts,
        "n_fold": run.n_fold,
        "data": data.digest(run.row.dataset),
        "etab": __version__,
        "device": settings.device.partition(":")[0],  # any GPU of a machine
    }


def failure_of(run: Run, settings: Settings, data: Data) -> FailedCell | None:
    """Find the record of a cell that failed with the same data and code.

    Args:
        run: The cell.
        settings: How the plan is run.
        data: The data of the plan.

    Returns:
        The record, or None.
    """
    if not has_record(run, settings):  # as a rule: then nothing has to be compared
        return None
    return recorded_failure(run, settings, facts_of_cell(run, settings, data))


def require_ready(
    runs: Sequence[Run], settings: Settings, data: Data, *, is_here: bool = True
) -> None:
    """Raise what is wrong for all cells of a plan, before any work starts.

    Args:
        runs: The plan.
        settings: How it is to be run.
        data: The data of the plan.
        is_here: Whether the cells are computed on this machine, so that its device is checked.

    Raises:
        UnsupportedOptionError: If the device is absent, or a backbone cannot compute in the
            precision.
        DataNotFoundError: If the data of a task are not found; other errors of the data likewise.
    """
    if is_here:
        require_device(settings.device)
    for run in runs:
        precision_of_run(run, settings)
    # What is alike is stored, so that the processes of the plan need not read all data for it.
    for dataset in {name for run in runs for name in run.row.datasets}:
        data.digest(dataset)
        data.alike(dataset)


def execute(
    runs: Sequence[Run],
    settings: Settings,
    *,
    data: Data | None = None,
    progress: OnCell | None = None,
    failed: Failed | None = None,
) -> Iterator[Result]:
    """Run cells, one backbone after the other, and save each when it is done.

    Args:
        runs: The plan.
        settings: How it is run.
        data: The data of the plan; None opens them anew.
        progress: Called with the backbone, the number of frames done and in all.
        failed: Called with a cell that fails (such as one whose metric does not exist, because a
            test part has one class only) and the error; the other cells are run. None: the error
            is raised.

    Yields:
        Each cell. One that is finished already is read.

    Raises:
        ResultError: If a saved result would not come out today.
        UndefinedError: If a metric does not exist and ``failed`` is None.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from etab import phantom
        >>> from etab.runs.run import plan
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = phantom.write(Path(folder), patients=10, names=("camus",))
        ...     settings = Settings(root=Path(folder) / "camus", results=Path(folder) / "results")
        ...     runs = plan("b0-A4-C", ["image_stats"], protocols=("cv5",))
        ...     cells = list(execute(runs, settings))
        >>> [(cell.protocol, cell.n_patients) for cell in cells]
        [('cv5', 10)]
    """
    require_device(settings.device)
    limit_threads()
    settings = settings.needing(code for run in runs for code in run.row.parts)
    data = data or Data(settings)
    groups: dict[tuple[str, str, str, str, bool], list[Run]] = {}
    for run in runs:
        groups.setdefault(feature_group(run), []).append(run)
    waiting = list(groups.values())
    must_wait = False
    while waiting:
        postponed: list[list[Run]] = []
        for group in waiting:
            left = yield from _execute_group(group, settings, data, progress, failed, must_wait)
            must_wait = False
            if left:
                postponed.append(left)
        # Other processes compute the features of all that is left: wait for those of the first.
        must_wait = len(postponed) == len(waiting)
        waiting = postponed


def feature_group(run: Run) -> tuple[str, str, str, str, bool]:
    """The facts that cells with the same features share.

    Args:
        run: The cell.
    """
    return (
        run.row.dataset,
        run.backbone,
        run.row.family,
        TASKS[run.task].reader,
        layered(run.row, run.backbone_card),
    )


def _execute_group(
    group: list[Run],
    settings: Settings,
    data: Data,
    progress: OnCell | None,
    failed: Failed | None,
    must_wait: bool,
) -> Generator[Result, None, list[Run]]:
    """Run the cells of a group.

    Returns: The cells that are left because another process computes their features; never any
        with ``must_wait``.
    """
    waiting = []
    for run in group:
        done = finished(run, settings, data)
        if done is None:
            waiting.append(run)
        else:
            yield done
    if not waiting:
        return []
    for dataset in dict.fromkeys(TASKS[code].dataset for code in waiting[0].row.parts):
        data.source(dataset)  # data that are refused leave no claim and no log
    with claimed(features_claim(waiting[0], settings), f"features {group[0].backbone}") as is_mine:
        if not (is_mine or must_wait):
            return waiting
        progressed()  # from here on, what hangs is known by the claim
        with logged(settings, "features", backbone=group[0].backbone, cells=len(waiting)):
            work = _shared_work(waiting, settings, data, progress, failed)
    yield from _execute_cells(waiting, work, settings)
    return []


def _shared_work(
    waiting: list[Run],
    settings: Settings,
    data: Data,
    progress: OnCell | None,
    failed: Failed | None,
) -> _GroupWork:
    """Prepare what the cells of a group share, and record it for all of them where that fails."""
    try:
        return _group_work(waiting, settings, data, progress, failed)
    except StorageError:
        raise  # nothing can be recorded where the disk refuses
    except BaseException as error:
        if is_interruption(error):
            raise
        if failed is not None:
            _record_all(waiting, settings, data, error)
        raise


def _execute_cells(
    waiting: list[Run], work: _GroupWork, settings: Settings
) -> Generator[Result, None, None]:
    """Run the cells of a group whose features are there."""
    # A cell that another process has claimed is looked at again when all others are done.
    with Saver() as saver:
        while waiting:
            elsewhere: list[Run] = []
            for _, alike in groupby(sorted(waiting, key=_order), key=_shared_by):
                elsewhere += yield from _execute_alike(list(alike), work, settings, saver)
                yield from saver.finished()
                give_back()
            if len(elsewhere) == len(waiting):
                _wait()
            waiting = elsewhere


def _execute_alike(
    alike: list[Run], work: _GroupWork, settings: Settings, saver: Saver
) -> Generator[Result, None, list[Run]]:
    """Run cells of the same rows; return those that other processes have claimed."""
    elsewhere: list[Run] = []
    memo: dict[Any, Any] = {}
    order: tuple[Any, ...] = ()
    with FitClaims(lambda run: claim_path(run, settings)) as fits:
        for number, run in enumerate(alike):
            if _order(run) != order:  # other splits: what was fitted on the last is of no use
                for of_rows in memo.values():
                    of_rows.forget_fits()
                order = _order(run)
            with ExitStack() as held:
                claim = claimed(claim_path(run, settings), f"{run.task} {run.backbone}")
                if fits.take(run) and held.enter_context(claim):
                    beside = fits.beside(run, alike[number + 1 :])
                    yield from work.cell(run, memo, held, saver, beside=beside)
                else:
                    elsewhere.append(run)
            fits.release(run)
    return elsewhere


def _group_work(
    waiting: list[Run],
    settings: Settings,
    data: Data,
    progress: OnCell | None,
    failed: Failed | None,
) -> _GroupWork:
    """Prepare what the cells of a group share: their features above all."""
    task = waiting[0].row
    card = waiting[0].backbone_card
    report = (lambda done, total: progress(card.name, done, total)) if progress else None
    maps = any(reads_maps(run) for run in waiting)

    def embed() -> FrameFeatures:
        parts = []
        for i in range(len(task.parts)):
            readers = [TASKS[run.row.parts[i]] for run in waiting]
            parts.append(_embedded(readers, card, settings, data, report, maps))
        return cross.joined_features(parts) if task.fit_on else parts[0]

    for run in waiting:
        refuse_leaks(run, data)
    attempts = {run: _attempts(run, settings, data) for run in waiting}
    return _GroupWork(settings, data, embed, embed(), failed, attempts)


def _wait() -> None:
    """Wait for the runs that compute the other cells."""
    wait_for_others(WAIT)


def _record_all(runs: list[Run], settings: Settings, data: Data, error: BaseException) -> None:
    kind, words = describe_kind(error)
    for run in runs:
        record_failure(run, settings, facts_of_cell(run, settings, data), kind, words)
        write_failed_cell(settings, run, words)


def _attempts(run: Run, settings: Settings, data: Data) -> int:
    record = failure_of(run, settings, data)
    return 0 if record is None else record.attempts


def claim_path(run: Run, settings: Settings) -> Path:
    """Path of the claim of a cell, in a hidden folder of the results.

    Args:
        run: The cell.
        settings: Where the results are.
    """
    record = path_of_run(run, settings.results)
    name = hashlib.sha256(str(record.relative_to(settings.results)).encode()).hexdigest()
    return settings.results / CLAIMS / name


def features_claim(run: Run, settings: Settings) -> Path:
    """Path of the claim of the features of a group, which one process computes.

    Args:
        run: A cell of the group.
        settings: Where the results are.
    """
    name = hashlib.sha256(repr(feature_group(run)).encode()).hexdigest()
    return settings.results / CLAIMS / f"features-{name}"


@dataclass(slots=True)
class _GroupWork:
    """The features that the cells of a group share, and the handling of a cell that fails."""

    settings: Settings
    data: Data
    embed: Callable[[], FrameFeatures]
    embedded: FrameFeatures
    failed: Failed | None
    attempts: Mapping[Run, int]
    """How often each waiting cell had failed when the group began."""

    def cell(
        self,
        run: Run,
        memo: dict[Any, Any],
        held: ExitStack,
        saver: Saver,
        beside: Sequence[Run] = (),
    ) -> Iterator[Result]:
        """Compute a claimed cell and hand it over to be saved, or report why it failed.

        Args:
            run: The cell.
            memo: Keeps what cells of the same rows share.
            held: The claim of the cell. A cell that is saved later takes it along.
            saver: Saves the cell.
            beside: The cells on the same features and rows that come after it.

        Yields: The cells that were saved since the last call.
        """
        # Another process may have finished it since the group began.
        stored = finished(run, self.settings, self.data)
        if stored is not None:
            yield stored
            return
        elsewhere = self._failed_elsewhere(run)
        if elsewhere is not None and self.failed is not None:
            self.failed(run, EtabError(elsewhere.words))
            return
        end = held.enter_context(logged(self.settings, "cell", **cell_facts(run)))
        try:
            result, predictions = self._computed(run, memo, beside)
        except BaseException as error:
            # Nothing can be saved where the disk refuses: that ends the whole group.
            is_of_all = isinstance(error, StorageError)
            if is_of_all:
                yield from saver.finished()
            if self.failed is None or is_of_all or is_interruption(error):
                raise
            note_failure(end, error)
            facts = facts_of_cell(run, self.settings, self.data)
            kind, words = describe_kind(error)
            record_failure(run, self.settings, facts, kind, words)
            self.failed(run, error)
            return
        before = saver.finished()
        claim_and_log = held.pop_all()

        def save() -> Result:
            with claim_and_log:
                result.save(self.settings.results, predictions, keep=self.settings.keep_masks)
                forget_failure(run, self.settings)
            return result

        try:
            now = saver.save(float(result.provenance["seconds"]), save)
        except StorageError:
            yield from before
            raise
        yield from [*before, *now]

    def _failed_elsewhere(self, run: Run) -> FailedCell | None:
        """The failure of a cell in another process since the group began; None if there is none."""
        record = failure_of(run, self.settings, self.data)
        if record is None or record.attempts <= self.attempts[run]:
            return None
        return record

    def _computed(
        self, run: Run, memo: dict[Any, Any], beside: Sequence[Run]
    ) -> tuple[Result, Predictions]:
        try:
            return compute(run, self.embedded, self.settings, self.data, memo, beside)
        except FeaturesLostError:
            # The cache was emptied meanwhile. A second loss is reported.
            memo.clear()
            self.embedded = self.embed()
            return compute(run, self.embedded, self.settings, self.data, memo, beside)


def _embedded(
    readers: list[Task],
    card: BackboneCard,
    settings: Settings,
    data: Data,
    report: Callable[[int, int], None] | None,
    maps: bool,
) -> FrameFeatures:
    """Features of everything that the family of these tasks shows: annotated frames, clips, or
    windows; with feature maps where ``maps``.
    """
    task = readers[0]
    embedding = Embedding(
        cache=settings.cache,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        progress=report,
        data_digest=data.digest(task.dataset),
        maps=maps,
    )
    source = data.source(task.dataset)
    if card.modality == SUPPLIED:
        read = data.read_by(readers)
        return supplied_features(source, data.keys(task), read, card, data.digest(task.dataset))
    return input_of(task).embed(task, source, data.keys(task), card, embedding)


def _shared_by(run: Run) -> tuple[Any, ...]:
    """Cells with the same rows stand together: what no label enters is computed once for them."""
    return (run.row.inputs, run.row.views)


def _order(run: Run) -> tuple[Any, ...]:
    """Within these, cells with the same splits stand together."""
    return (*_shared_by(run), run.protocol_name, run.seed)
