"""The tasks on releases that hold whole examinations: EchoRisk, MIMIC-IV-ECHO
and EchoXFlow.

Their version is 0: nothing has been measured on the data yet, and they are in no suite.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from etab.echo.clips import Sampling
from etab.tasks.base import CHANCE, MASK_HEAD, PERFECT, POOLED_HEAD, Anchors, Task
from etab.types import Kind

# One clip from the middle of a cine, as many frames as the baselines of video networks take.
_CLIP = Sampling(32, 2)
_ACCEPTED = (
    "error from which management may change, and accepted variability of measurements: metrics "
    "specification of EchoRisk, task 1; version 0, not measured: the data are not at hand"
)
_MEAN = "the mean of the truth, by the definition of R2"
_CHANCE = Anchors(0.5, 1.0, f"{CHANCE}; version 0", PERFECT)


def _of_exam(
    code: str,
    title: str,
    target: str,
    anchors: Anchors = _CHANCE,
) -> Task:
    """Build a task on examinations of EchoRisk: the mean over the cines of both apical views.

    Only cross-validation is allowed, because the labels of the test part are not public.
    """
    is_value = target == "EF"
    return Task(
        code=code,
        title=title,
        dataset="echorisk",
        target=target,
        views=("A2C", "A4C"),
        kind=Kind.VALUE if is_value else Kind.BINARY,
        metric="mae" if is_value else "auroc",
        metric_2022="r2" if is_value else "auroc",
        head=POOLED_HEAD,
        inputs="clip",
        anchors=anchors,
        version=0,
        unit="study",
        aggregate="mean",
        protocols=("cv",),
        clip=_CLIP,
    )


def _echorisk() -> Iterable[Task]:
    yield _of_exam(
        "b0-AX-R",
        "ejection fraction of an examination, A2C and A4C",
        "EF",
        Anchors(10.0, 5.0, _ACCEPTED, _ACCEPTED),
    )
    yield _of_exam("d3-AX-R", "LV dysfunction (GLS >= -16 %) of an examination", "dysfunction")
    yield _of_exam("d4-AX-R", "cardiotoxicity, from the first examination", "cardiotoxicity")


def _side_by_side(task: Task) -> Task:
    """Build the task on both apical views of an examination side by side; one may be absent."""
    return replace(
        task,
        code=task.code.replace("-AX-", "-V2-"),
        title=f"{task.title}, both views side by side",
        inputs="views:clip",
        aggregate="",
        extra=True,
    )


def _mimic_echo() -> Iterable[Task]:
    """Build the tasks on MIMIC-IV-ECHO: the part of a subject is decided by a digest."""
    yield Task(
        code="c2-AL-M",
        title="A2C, A3C, A4C, PLAX, PSAX or other, as ECHOVIEW predicts",
        dataset="mimic_echo",
        target="view",
        views=("A2C", "A3C", "A4C", "PLAX", "PSAX", "other"),
        kind=Kind.CLASSES,
        metric="balanced_accuracy",
        metric_2022="auroc",
        head=POOLED_HEAD,
        inputs="answer",
        anchors=Anchors(1 / 6, 1.0, f"{CHANCE}; version 0", PERFECT),
        version=0,
    )
    for index, target, unit, words in (
        (0, "EF", "study", "ejection fraction of a study, A4C"),
        (9, "EF_A4C", "recording", "single-plane ejection fraction, A4C"),
    ):
        yield Task(
            code=f"b{index}-A4-M",
            title=words,
            dataset="mimic_echo",
            target=target,
            views=("A4C",),
            kind=Kind.VALUE,
            metric="r2",
            metric_2022="r2",
            head=POOLED_HEAD,
            inputs="clip",
            anchors=Anchors(0.0, 1.0, f"{_MEAN}; version 0", PERFECT),
            version=0,
            unit=unit,
            aggregate="mean",
            clip=_CLIP,
        )


def _echoxflow() -> Iterable[Task]:
    """Build the tasks on EchoXFlow; its five folds are ``--protocol lists:splits.csv``."""
    empty = "an empty mask; version 0, not measured: the data are not at hand for a mean mask"
    for index, target, words in ((0, "LV_seg", "left ventricle"), (2, "MY_seg", "myocardium")):
        for code, view in (("A2", "A2C"), ("A3", "A3C"), ("A4", "A4C")):
            yield Task(
                code=f"a{index}-{code}-X",
                title=f"{words} by strain contours, {view}",
                dataset="echoxflow",
                target=target,
                views=(view,),
                kind=Kind.MASK,
                metric="dice",
                metric_2022="jaccard",
                head=MASK_HEAD,
                inputs="answer",
                anchors=Anchors(0.0, 1.0, empty, PERFECT),
                version=0,
                protocols=("cv",),
            )
    yield Task(
        code="c4-AX-X",
        title="A2C, A3C or A4C",
        dataset="echoxflow",
        target="view",
        views=("A2C", "A3C", "A4C"),
        kind=Kind.CLASSES,
        metric="auroc",
        metric_2022="auroc",
        head=POOLED_HEAD,
        inputs="answer",
        anchors=_CHANCE,
        version=0,
        protocols=("cv",),
    )


def exam_tasks() -> Iterable[Task]:
    """Build the tasks on EchoRisk, MIMIC-IV-ECHO and EchoXFlow."""
    of_exams = tuple(_echorisk())
    yield from of_exams
    yield from map(_side_by_side, of_exams)
    yield from _mimic_echo()
    yield from _echoxflow()
