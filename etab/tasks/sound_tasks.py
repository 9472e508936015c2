"""The tasks on heart sounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from etab.tasks.base import CHANCE, PERFECT, POOLED_HEAD, WITHIN_FOLDS, Anchors, Task
from etab.types import Kind

# Version of the task on heart states that is scored by people; version 1 was by recordings.
_BY_PEOPLE = 2
_PLACES = ("AV", "PV", "TV", "MV", "Phc")
_ONE_STATE = (
    "one state for every moment: no sound is found; the row of `constant` on a board says what "
    "heart rate and durations "
    "alone are worth: 0.21 on the shared part of CirCor; means over people of the mean over their "
    "recordings"
)
_HEART_RATE = (
    "training median for everybody, cv5 of all 3,163 recordings: `python -m "
    "benchmarks.anchors_sound`"
)
_EVERYBODY = "{} for everybody, all 942 patients, official code"


def _sound(
    code: str,
    title: str,
    target: str,
    kind: Kind,
    metric: str,
    metric_2022: str,
    head: str,
    low: float,
    high: float,
    sources: tuple[str, str],
    unit: str = "",
    aggregate: str = "",
    protocols: tuple[str, ...] = ("cv",),
) -> Task:
    """Build a task on heart sounds.

    Its views are all auscultation places of CirCor, or the unnamed place of CinC 2016.
    """
    circor = code.endswith("D")
    return Task(
        code,
        title,
        "circor" if circor else "cinc2016",
        target,
        _PLACES if circor else ("PCG",),
        kind,
        metric,
        metric_2022,
        head,
        "recording",
        Anchors(low, high, *sources),
        version=_version_of_sounds(code, metric_2022),
        unit=unit,
        aggregate=aggregate,
        protocols=protocols,
    )


def _version_of_sounds(code: str, metric_2022: str) -> int:
    if code.startswith("e0"):
        return _BY_PEOPLE
    return WITHIN_FOLDS if metric_2022.endswith("auroc") else 1


def sound_tasks() -> Iterable[Task]:
    """Build the tasks on heart sounds.

    Those of CirCor are e0, e1, f1, f2 and f3, that of CinC 2016 is f0, those of BMD-HS are f4 to
    f9.
    """
    yield _sound(
        "e0-AL-D",
        "S1, systole, S2, diastole",
        "states",
        Kind.STATES,
        "f1_100",
        "f1_100",
        "hsmm_wavelet",
        0.0,
        1.0,
        (_ONE_STATE, PERFECT),
        unit="patient",
    )
    yield _sound(
        "e1-AL-D",
        "heart rate, bpm",
        "HR",
        Kind.VALUE,
        "mae",
        "r2",
        POOLED_HEAD,
        16.212,
        0.0,
        (_HEART_RATE, PERFECT),
    )
    yield _sound(
        "f0-PH-N",
        "normal or abnormal",
        "abnormal",
        Kind.BINARY,
        "macro_macc",
        "macro_auroc",
        POOLED_HEAD,
        0.5,
        1.0,
        (CHANCE, PERFECT),
        unit="recording",
        aggregate="mean",
        protocols=("lodo", "cv"),
    )
    murmur = _sound(
        "f1-AL-D",
        "murmur present, unknown or absent",
        "murmur",
        Kind.CLASSES,
        "weighted_accuracy",
        "auroc",
        POOLED_HEAD,
        0.4989,
        1.0,
        (_EVERYBODY.format("Present"), PERFECT),
        unit="patient",
        aggregate="recordings",
    )
    outcome = _sound(
        "f2-AL-D",
        "outcome of the examination",
        "outcome",
        Kind.BINARY,
        "cost",
        "auroc",
        POOLED_HEAD,
        14850.7643,
        5285.6333,
        (_EVERYBODY.format("Abnormal"), PERFECT),
        unit="patient",
        aggregate="recordings",
    )
    yield murmur
    yield outcome
    yield from _parquet_tasks(murmur)
    yield from _valve_tasks()
    yield from map(_by_place, (murmur, outcome))
    # Beside the boards: a murmur is of a patient there, and many places of theirs have none.
    at_place = _sound(
        "f3-AL-D",
        "murmur at this place",
        "murmur_here",
        Kind.BINARY,
        "auroc",
        "auroc",
        POOLED_HEAD,
        0.5,
        1.0,
        (CHANCE, PERFECT),
    )
    yield replace(at_place, extra=True)


def _by_place(task: Task) -> Task:
    """Build the task on the four places of CirCor side by side, of which some may be absent.

    Labels, metric and anchors are those of the task on all recordings. It is beside the boards.
    """
    return replace(
        task,
        code=task.code.replace("-AL-", "-P4-"),
        title=f"{task.title}, four places side by side",
        views=_PLACES[:4],
        inputs="views:recording",
        aggregate="",
        extra=True,
    )


def _valve_tasks() -> Iterable[Task]:
    """Build the tasks on the valve diseases of BMD-HS; people are scored, not recordings.

    A person may have several diseases: f6 to f9 read one each, among people with some disease; f4
    reads any of them, and f5 the exclusive classes. Their version is 0: they are in no suite.
    """
    chance = f"{CHANCE}; version 0"
    two_classes = Anchors(0.5, 1.0, chance, PERFECT)
    six_classes = Anchors(round(1 / 6, 4), 1.0, chance, PERFECT)
    yield _of_valves(4, "any valve disease of adults", "disease", "auroc", two_classes)
    yield _of_valves(
        5,
        "no valve disease, which one alone, or several, of adults",
        "diagnosis",
        "balanced_accuracy",
        six_classes,
    )
    for index, target, words in (
        (6, "AS", "aortic stenosis"),
        (7, "AR", "aortic regurgitation"),
        (8, "MR", "mitral regurgitation"),
        (9, "MS", "mitral stenosis"),
    ):
        title = f"{words} of adults with a valve disease"
        yield _of_valves(index, title, target, "auroc", two_classes)


def _of_valves(
    index: int,
    title: str,
    target: str,
    metric: str,
    anchors: Anchors,
) -> Task:
    """Build a task on BMD-HS."""
    return Task(
        f"f{index}-AL-B",
        title,
        "bmdhs",
        target,
        ("AV", "PV", "TV", "MV"),
        Kind.BINARY if metric == "auroc" else Kind.CLASSES,
        metric,
        "auroc",
        POOLED_HEAD,
        "recording",
        anchors,
        version=0,
        unit="patient",
        aggregate="recordings",
        protocols=("cv",),
    )


def _parquet_tasks(murmur: Task) -> Iterable[Task]:
    """Build the tasks on CirCor as Parquet files: stretches of recordings, version 0.

    The files alone give heart states, heart rates and their own label; ``murmur`` needs PhysioNet's
    table beside them.
    """
    again = "anchors of {}, whose rows are whole recordings; version 0"
    states = _sound(
        "e0-AL-D",
        "S1, systole, S2, diastole, of annotated stretches",
        "states",
        Kind.STATES,
        "f1_100",
        "f1_100",
        "hsmm_wavelet",
        0.0,
        1.0,
        (again.format("e0-AL-D"), PERFECT),
        unit="patient",
    )
    rate = _sound(
        "e1-AL-D",
        "heart rate of annotated stretches, bpm",
        "HR",
        Kind.VALUE,
        "mae",
        "r2",
        POOLED_HEAD,
        16.212,
        0.0,
        (again.format("e1-AL-D"), PERFECT),
    )
    own_label = _sound(
        "f0-AL-D",
        "normal or abnormal by the files' own label, of annotated stretches",
        "recording_label",
        Kind.BINARY,
        "auroc",
        "auroc",
        POOLED_HEAD,
        0.5,
        1.0,
        (f"{CHANCE}; version 0", PERFECT),
    )
    of_stretches = replace(murmur, title=f"{murmur.title}, from annotated stretches")
    for letter, dataset in (("H", "circor_hf"), ("G", "circor_hf_processed")):
        for task in (states, rate, own_label, of_stretches):
            code = task.code.replace("-D", f"-{letter}")
            yield replace(task, code=code, dataset=dataset, version=0)
