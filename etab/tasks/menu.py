"""The table of all tasks.

A code reads ``<category><index>-<view>-<dataset>``, as in 2022: ``a0-A4-C`` is the left ventricle
(a0) in the apical four-chamber view (A4) of CAMUS (C). A cross-dataset task is written
``b0-A4-E>C``: it is fitted on EchoNet-Dynamic and tested on CAMUS.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from etab.echo.clips import Sampling
from etab.echo.views import VIEW_CODES
from etab.registry import unknown
from etab.tasks.base import (
    CHANCE,
    MASK_HEAD,
    PERFECT,
    POOLED_HEAD,
    WITHIN_FOLDS,
    Anchors,
    Menu,
    Task,
)
from etab.tasks.codes import DEFAULT_DATASET, task_words
from etab.tasks.exam_tasks import exam_tasks
from etab.tasks.sound_tasks import sound_tasks
from etab.types import Kind

TASKS: Menu = Menu("task")

_ATLAS = "mean training mask, cv5, 224 px copy: `python -m benchmarks.anchors`"
_MEDIAN = "training median for every patient, cv5: `python -m benchmarks.anchors`"
_LECLERC = "MAE of the best network of Leclerc et al., IEEE TMI 38(9), 2019, abstract"


def _masks(
    index: int,
    target: str,
    words: str,
    low: Mapping[str, float],
) -> Iterable[Task]:
    for view, names in (("A2", ("A2C",)), ("A4", ("A4C",))):
        yield Task(
            code=f"a{index}-{view}-C",
            title=f"{words}, {names[0]}",
            dataset="camus",
            target=target,
            views=names,
            kind=Kind.MASK,
            metric="dice",
            metric_2022="jaccard",
            head=MASK_HEAD,
            inputs="frame",
            anchors=Anchors(low[view], 1.0, _ATLAS, PERFECT),
        )


def _auroc(
    code: str,
    title: str,
    target: str,
    views: tuple[str, ...],
    inputs: str,
) -> Task:
    return Task(
        code=code,
        title=title,
        dataset="camus",
        target=target,
        views=views,
        kind=Kind.CLASSES if target == "view" else Kind.BINARY,
        metric="auroc",
        metric_2022="auroc",
        head=POOLED_HEAD,
        inputs=inputs,
        anchors=Anchors(0.5, 1.0, CHANCE, PERFECT),
        version=WITHIN_FOLDS,
    )


def _camus() -> Iterable[Task]:
    yield from _masks(0, "LV_seg", "left ventricle", {"A2": 0.688, "A4": 0.716})
    yield from _masks(1, "LA_seg", "left atrium", {"A2": 0.344, "A4": 0.535})
    yield from _masks(2, "MY_seg", "myocardium", {"A2": 0.529, "A4": 0.483})
    for view, name in (("A2", "A2C"), ("A4", "A4C")):
        yield Task(
            code=f"b0-{view}-C",
            title=f"ejection fraction, {name}",
            dataset="camus",
            target="EF",
            views=(name,),
            kind=Kind.VALUE,
            metric="mae",
            metric_2022="r2",
            head=POOLED_HEAD,
            inputs="ED+ES",
            anchors=Anchors(9.446, 5.6, _MEDIAN, _LECLERC),
        )
    for view, name in (("A2", "A2C"), ("A4", "A4C")):
        yield _auroc(f"b1-{view}-C", f"ED or ES frame, {name}", "ES/ED", (name,), "frame")
    yield _auroc("c0-AX-C", "A2C or A4C", "view", ("A2C", "A4C"), "ED")
    for view, name in (("A2", "A2C"), ("A4", "A4C")):
        yield _auroc(f"d0-{view}-C", f"cardiomyopathy (EF < 50), {name}", "CM", (name,), "ED+ES")


def _still(
    code: str,
    title: str,
    target: str,
    views: tuple[str, ...],
    classes: int,
) -> Task:
    """Build a task on the stills of TMED-2: AUROC for two classes, balanced accuracy for more."""
    two = classes == 2
    return Task(
        code=code,
        title=title,
        dataset="tmed",
        target=target,
        views=views,
        kind=Kind.BINARY if two else Kind.CLASSES,
        metric="auroc" if two else "balanced_accuracy",
        metric_2022="auroc",
        head=POOLED_HEAD,
        inputs="answer",
        anchors=Anchors(0.5 if two else 1 / classes, 1.0, CHANCE, PERFECT),
        version=WITHIN_FOLDS,
    )


def _study(
    code: str,
    title: str,
    target: str,
    classes: int,
) -> Task:
    """Build a task on aortic stenosis of a study from all its stills.

    Its version is 0, because nothing has been measured on the data yet.
    """
    return Task(
        code=code,
        title=title,
        dataset="tmed",
        target=target,
        views=("PLAX", "PSAX", "A2C", "A4C", "other"),
        kind=Kind.BINARY if classes == 2 else Kind.CLASSES,
        metric="balanced_accuracy",
        metric_2022="auroc",
        head=POOLED_HEAD,
        inputs="answer",
        anchors=Anchors(1 / classes, 1.0, f"{CHANCE}; version 0", PERFECT),
        version=0,
        unit="study",
        aggregate="relevance",
    )


def _tmed() -> Iterable[Task]:
    parasternal = ("PLAX", "PSAX")
    yield _still("c1-PX-T", "PLAX or PSAX", "PLAX/PSAX", parasternal, 2)
    yield _still(
        "c2-AL-T", "PLAX, PSAX, A2C, A4C or other", "view", (*parasternal, "A2C", "A4C", "other"), 5
    )
    yield _still("d1-PX-T", "grade of aortic stenosis, PLAX and PSAX", "AS", parasternal, 3)
    yield _still("d2-PX-T", "any aortic stenosis, PLAX and PSAX", "any_AS", parasternal, 2)
    grade = _study("d1-AL-T", "grade of aortic stenosis of a study", "AS", 3)
    presence = _study("d2-AL-T", "any aortic stenosis of a study", "any_AS", 2)
    yield from (grade, presence)
    yield from map(_by_view, (grade, presence))


def _by_view(task: Task) -> Task:
    """Build the task on the four views of a study side by side, of which some may be absent.

    It takes the views as the authors label them; the task on all stills learns to distinguish them.
    """
    return replace(
        task,
        code=task.code.replace("-AL-", "-V4-"),
        title=f"{task.title}, four views side by side",
        views=VIEW_CODES["V4"],
        inputs="views:answer",
        aggregate="",
        extra=True,
    )


_UNMEASURED = "version 0, not measured: the data are not at hand"
_NO_MASK = f"an empty mask; {_UNMEASURED} for a mean mask"
_MEAN = "the mean of the truth, by the definition of R2"
_SPREAD = f"MAE of the mean of a normal spread with the published standard deviation; {_UNMEASURED}"
_CONSTANT = "MAE of the training mean on the official test split, from the published table of EF"
_OUYANG = "MAE of Ouyang et al., Nature 580, 2020, beat by beat, official test split"
_DUFFY = "MAE of Duffy et al., JAMA Cardiology 7(4), 2022, internal test set"


_WAITING = Anchors(0.5, 1.0, f"{CHANCE}; version 0", PERFECT)


def _new(
    dataset: str,
    code: str,
    title: str,
    target: str,
    kind: Kind,
    inputs: str,
    *,
    metric: str = "auroc",
    metric_2022: str = "auroc",
    head: str = POOLED_HEAD,
    anchors: Anchors = _WAITING,
    views: tuple[str, ...] = (),
) -> Task:
    """Build a task of version 0, which is in no suite because its data are not available yet.

    ``views`` defaults to the views of the code.
    """
    return Task(
        code,
        title,
        dataset,
        target,
        views or VIEW_CODES[code.split("-")[1]],
        kind,
        metric,
        metric_2022,
        head,
        inputs,
        anchors,
        version=0,
    )


def _echonet() -> Iterable[Task]:
    yield _new(
        "echonet",
        "a0-A4-E",
        "left ventricle, A4C",
        "LV_seg",
        Kind.MASK,
        "frame",
        metric="dice",
        metric_2022="jaccard",
        head=MASK_HEAD,
        anchors=Anchors(0.0, 1.0, _NO_MASK, PERFECT),
    )
    yield _new(
        "echonet",
        "b0-A4-E",
        "ejection fraction, A4C",
        "EF",
        Kind.VALUE,
        "ED+ES",
        metric="mae",
        metric_2022="r2",
        head=POOLED_HEAD,
        anchors=Anchors(9.01, 4.05, _CONSTANT, _OUYANG),
    )
    yield _new("echonet", "b1-A4-E", "ED or ES frame, A4C", "ES/ED", Kind.BINARY, "frame")
    yield _new("echonet", "d0-A4-E", "cardiomyopathy (EF < 50), A4C", "CM", Kind.BINARY, "ED+ES")


def _lvh() -> Iterable[Task]:
    for index, target, words, spread, reference in (
        (3, "IVSd", "interventricular septum at end-diastole", 0.24, 0.14),
        (4, "LVPWd", "posterior wall at end-diastole", 0.21, 0.12),
        (5, "LVIDd", "diameter of the left ventricle at end-diastole", 0.83, 0.24),
    ):
        low = round(spread * (2 / math.pi) ** 0.5, 3)
        yield _new(
            "lvh",
            f"b{index}-PL-L",
            f"{words}, cm, PLAX",
            target,
            Kind.VALUE,
            "answer",
            metric="mae",
            metric_2022="r2",
            head=POOLED_HEAD,
            anchors=Anchors(low, reference, _SPREAD, _DUFFY),
        )
    yield _new("lvh", "b1-PL-L", "ED or ES frame, PLAX", "ES/ED", Kind.BINARY, "frame")


def _pediatric() -> Iterable[Task]:
    for view, name in (("A4", "A4C"), ("PS", "PSAX")):
        words = f"of children, {name}"
        yield _new(
            "pediatric",
            f"a0-{view}-P",
            f"left ventricle {words}",
            "LV_seg",
            Kind.MASK,
            "frame",
            metric="dice",
            metric_2022="jaccard",
            head=MASK_HEAD,
            anchors=Anchors(0.0, 1.0, _NO_MASK, PERFECT),
        )
        yield _new(
            "pediatric",
            f"b0-{view}-P",
            f"ejection fraction {words}",
            "EF",
            Kind.VALUE,
            "ED+ES",
            metric="r2",
            metric_2022="r2",
            head=POOLED_HEAD,
            anchors=Anchors(0.0, 1.0, f"{_MEAN}; version 0", PERFECT),
        )
        yield _new(
            "pediatric", f"b1-{view}-P", f"ED or ES frame {words}", "ES/ED", Kind.BINARY, "frame"
        )
        yield _new(
            "pediatric",
            f"d0-{view}-P",
            f"cardiomyopathy (EF < 50) {words}",
            "CM",
            Kind.BINARY,
            "ED+ES",
        )
    yield _new(
        "pediatric",
        "c3-AL-P",
        "A4C or PSAX of children",
        "view",
        Kind.CLASSES,
        "ED",
        views=("A4C", "PSAX"),
    )


def _unity() -> Iterable[Task]:
    yield _new(
        "unity",
        "c2-AL-U",
        "A2C, A3C, A4C or PLAX",
        "view",
        Kind.CLASSES,
        "answer",
        views=("A2C", "A3C", "A4C", "PLAX"),
    )


def _unitylv() -> Iterable[Task]:
    yield _new(
        "unitylv",
        "a0-A4-V",
        "left ventricle, A4C, consensus of eleven readers",
        "LV_seg",
        Kind.MASK,
        "frame",
        metric="dice",
        metric_2022="jaccard",
        head=MASK_HEAD,
        anchors=Anchors(0.0, 1.0, _NO_MASK, PERFECT),
    )


# 32 frames, every second one, as Ouyang et al. (github.com/echonet/dynamic); all clips: half a clip
# apart, not one frame
_UPSTREAM = {
    6: Sampling(32, 2),
    7: Sampling(32, 2, 32),
    8: Sampling(32, 2),
}
_CYCLE = Sampling(0)
_AGAIN = "labels and patients of {}; version 0: no sequences at hand to run it on"


def _clips() -> Iterable[Task]:
    """Build the EF tasks on clips: index 6 uses one clip, 7 all clips, 8 one clip a beat.

    The anchors are those of the ED+ES task.
    """
    three = (
        (6, "clip", "from one clip"),
        (7, "clips", "from all clips"),
        (8, "beats", "beat by beat"),
    )
    one_clip = three[:1]
    for letter, view, rows in (
        ("C", "A2", one_clip),
        ("C", "A4", one_clip),
        ("E", "A4", three),
        ("P", "A4", three),
        ("P", "PS", three),
    ):
        still = TASKS[f"b0-{view}-{letter}"]
        low, high = (
            f"{_AGAIN.format(still.code)}; {s}"
            for s in (still.anchors.low_source, still.anchors.high_source)
        )
        for index, inputs, words in rows:
            yield replace(
                still,
                code=f"b{index}-{view}-{letter}",
                title=f"{still.title}, {words}",
                inputs=inputs,
                unit="recording",
                aggregate="mean",
                clip=_CYCLE if letter == "C" else _UPSTREAM[index],
                extra=True,
                version=0,
                anchors=replace(still.anchors, low_source=low, high_source=high),
            )


def _biplane() -> Task:
    """Build the EF task on both apical views: the label of CAMUS is a biplane EF.

    It is an extra task, in no suite. Patients and labels are those of the tasks on one view, and
    so are the anchors.
    """
    one_view = TASKS["b0-A4-C"]
    return replace(
        one_view,
        code="b0-AX-C",
        title="ejection fraction, A2C and A4C together",
        views=("A2C", "A4C"),
        inputs="views",
        extra=True,
    )


_OF_DATASETS = (
    _camus,
    _echonet,
    _tmed,
    _lvh,
    _pediatric,
    _unity,
    _unitylv,
    exam_tasks,
    sound_tasks,
)
for _task in (task for make in _OF_DATASETS for task in make()):
    TASKS.add(_task.code, _task)
for _task in list(_clips()):
    TASKS.add(_task.code, _task)
TASKS.add("b0-AX-C", _biplane())


def find(codes: str | Iterable[str] | None = None) -> list[Task]:
    """Select tasks.

    Args:
        codes: Codes, prefixes of codes ("a", "a0", "b0-A4") or names of datasets, in a list or
            separated by commas. None selects every task of the default dataset.

    Returns:
        The tasks, each once, in the order of ``codes``. Tasks of version 0 are selected by their
        code or dataset only, extra tasks by their code or index ("b6") only, and cross-dataset
        tasks by their code only.

    Raises:
        UnknownNameError: A word selects nothing.

    Example:
        >>> [task.code for task in find("a0")]
        ['a0-A2-C', 'a0-A4-C']
    """
    extra = [t for t in TASKS.values() if t.extra and t.superseded_by is None]
    current = [t for t in TASKS.values() if t.superseded_by is None and not t.extra]
    ready = [t for t in current if t.version > 0]
    if codes is None:
        return [t for t in ready if t.dataset == DEFAULT_DATASET]
    chosen: dict[str, Task] = {}
    for word in task_words(codes):
        hits = [TASKS[word]] if ">" in word else [t for t in TASKS.values() if t.code == word]
        hits = (
            hits
            or [t for t in current if t.dataset == word]
            or [t for t in ready if t.code.startswith(word)]
        )
        hits = hits or [t for t in extra if t.code[:2] == word]
        if not word or not hits:
            raise unknown("task", word, [*TASKS, *sorted({t.dataset for t in current})])
        chosen.update((t.code, t) for t in hits)
    return list(chosen.values())
