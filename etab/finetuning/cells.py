"""Cells whose backbone is trained too: all of it, or its last blocks.

The protocol "official-finetune" trains the whole backbone, "official-partial2" its last two blocks.
The cells are scored by the code of the frozen cells and saved as the same kind of result. Their
protocols have other names, so that no table mixes them with frozen cells. Mask tasks of one dataset
can be trained together, as one network with an output for each structure and the frames of every
view; the settings of each result list all the tasks.

Adaptation ("official-finetune-from:a0-A4-C") first trains the backbone on another task, with the
same protocol, and then puts a new head on it. The training on the source task has separate
checkpoints and is done once for all targets. It is an error if a training patient of the source
task is a test patient of the target.

The test part does not affect the training. An inner part of the training patients decides when to
stop, and at which probability masks are cut. The network is not trained again with that part
(``settings["refit"]`` is False), since this would double the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from etab.finetuning.plan import Tuning
from etab.finetuning.work import TrainingWatch, TuningWork, facts_of
from etab.results import Result
from etab.runs.data import Data
from etab.runs.execute import require_ready
from etab.runs.failures import describe_failure, is_interruption
from etab.runs.record import is_of_backbone, stored_result
from etab.runs.run import Settings
from etab.storage.machine import limit_threads, require_device
from etab.training import distributed


def finished(tuning: Tuning, settings: Settings, data: Data | None = None) -> list[Result] | None:
    """Find the saved results of all tasks of a training.

    Args:
        tuning: The training.
        settings: How it is run.
        data: The data of the plan; None opens them anew.

    Returns:
        The results, or None if one of them is missing.

    Raises:
        ResultError: A saved result was made under other conditions.
    """
    data = data or Data(settings)
    facts = facts_of(tuning, settings, data)
    results = []
    for cell in tuning.cells:
        stored = stored_result(cell, facts, settings, data)
        if stored is None or not is_of_backbone(cell, stored, settings):
            return None
        results.append(stored)
    return results


def execute(
    tuning: Tuning,
    settings: Settings,
    *,
    data: Data | None = None,
    watch: TrainingWatch | None = None,
) -> list[Result]:
    """Train, score and save every task of a training.

    An interrupted training continues from its last checkpoint. Processes that torchrun started
    train together (``etab.training.distributed``); only the first one saves.

    Args:
        tuning: The training.
        settings: Where data and results are, the device and the precision.
        data: The data of the plan; None opens them anew.
        watch: Called with the name of the training and its progress.

    Returns:
        The result of each task. Results that are finished already are read.

    Raises:
        ResultError: If a saved result was made under other conditions.
        SplitError: If a patient would be trained on and tested.
        TrainingError: If the loss is not finite, or one row does not fit memory.
        UnsupportedOptionError: If the device is absent.
    """
    tuning.check()
    require_device(settings.device)
    limit_threads()
    with distributed.joined(settings.device) as device:
        settings = replace(settings, device=device)
        data = data or Data(settings)
        done = finished(tuning, settings, data)
        if done is not None:
            return done
        started = time.perf_counter()
        work = TuningWork.of(tuning, settings, data)
        fits = [work.split(i, watch) for i in range(len(work.splits))]
        seconds = time.perf_counter() - started
        results = [work.result(cell, fits, seconds) for cell in tuning.cells]
        distributed.wait()
        return results


def trainings(
    plans: Sequence[Tuning],
    settings: Settings,
    watch: TrainingWatch | None = None,
    failed: Callable[[str, str], None] | None = None,
) -> Iterator[Result]:
    """Execute several trainings, one after the other.

    Args:
        plans: The trainings.
        settings: Where data and results are, the device and the precision.
        watch: Called with the name of the training and its progress.
        failed: Called with the name of a training that failed and the reason; the other trainings
            continue. With None, or with several processes, which must stay in step, the error is
            raised.

    Yields:
        Each finished cell.

    Raises:
        UnsupportedOptionError: The device is absent, or a backbone cannot compute in the precision.
            Raised before any training starts.
        EtabError: The data cannot be used. Raised before any training starts.
    """
    data = Data(settings)
    for tuning in plans:
        require_ready(tuning.cells, settings, data)
    with distributed.joined(settings.device) as device:
        alone = distributed.world()[1] == 1
        settings = replace(settings, device=device)
        for tuning in plans:
            try:
                yield from execute(tuning, settings, data=data, watch=watch)
            except BaseException as error:
                if failed is None or not alone or is_interruption(error):
                    raise
                failed(tuning.name, describe_failure(error))
