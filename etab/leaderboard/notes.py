"""The notes of a board: how to read it, what is missing from it, and what its results warn of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from etab.leaderboard.board import VECTORS, BoardRow, Reliability, Separation, kind_of
from etab.leaderboard.suites import Suite
from etab.metrics.base import METRICS
from etab.results import Result
from etab.results.notes import joined_notes
from etab.storage.text import counted, printable
from etab.tasks.menu import TASKS
from etab.tasks.protocols import parse

_NAMED_RECORDINGS = 3
_NAMED_FILES = 5
_NAMED_BACKBONES = 3
# An anchored value that is nearer to 0 than this is at the lower anchor: anchors are rounded.
_AT_THE_ANCHOR = 0.005
# Patients from which the interval of an area covers as stated with one division into folds.
_ENOUGH_FOR_ONE_DIVISION = 450


def incomplete(cells: Sequence[Result]) -> list[str]:
    """Say which data were left out because they could not be read.

    Args:
        cells: Results, with what ``--skip-bad`` left out in ``bad``.

    Returns:
        One sentence for each dataset of which recordings were left out.
    """
    partial = [cell for cell in cells if cell.bad]
    return [
        _incomplete_dataset(name, [cell for cell in partial if cell.dataset == name])
        for name in sorted({cell.dataset for cell in partial})
    ]


def _incomplete_dataset(name: str, cells: Sequence[Result]) -> str:
    recordings: set[str] = set()
    lost: set[str] = set()
    partly: set[str] = set()
    for cell in cells:
        recordings.update(identifier for identifier, _ in cell.bad["recordings"])
        lost.update(cell.bad["lost"])
        partly.update(cell.bad["partly"])
    # A patient lost to one task may be partly present in another one.
    partly -= lost
    total = max(cell.bad["patients"] for cell in cells)
    of_more = f", and part of {len(partly)} more" if partly else ""
    was_left_out = "was left out" if len(recordings) == 1 else "were left out"
    return (
        f"INCOMPLETE DATA: {len(lost)} of {counted(total, 'patient')} of {name} are missing{of_more}: "
        f"{counted(len(recordings), 'recording')} could not be read and {was_left_out} (--skip-bad): "
        f"{_listed(sorted(recordings), _NAMED_RECORDINGS, ', ')}. Not to be compared with scores "
        "on all of the data."
    )


def set_aside_note(problems: Sequence[str], whole: str = "this board") -> list[str]:
    """Say which result files could not be used, and why; nothing where all of them could.

    Args:
        problems: One reason for each file.
        whole: What the files are not part of.

    Returns:
        A list of at most one sentence.
    """
    if not problems:
        return []
    files = "1 result file is" if len(problems) == 1 else f"{len(problems)} result files are"
    return [printable(f"SET ASIDE: {files} not part of {whole}: {_sentences(problems)}")]


def remarks_note(remarks: Sequence[str]) -> list[str]:
    """Say what a reader should know before believing some results; nothing without remarks.

    Args:
        remarks: One sentence for each remark.

    Returns:
        A list of at most one sentence.
    """
    return _told("FLAGGED", remarks)


def contradictions_note(contradictions: Sequence[str]) -> list[str]:
    """Say which other results of the cells contradict each other; nothing where none does.

    Args:
        contradictions: One sentence for each contradiction.

    Returns:
        A list of at most one sentence.
    """
    return _told("CONTRADICTING", contradictions)


def unpublished_note(files: Sequence[Path]) -> list[str]:
    """Say which results are not used because the row of their backbone is a published one.

    Args:
        files: The files of the results.

    Returns:
        A list of at most one sentence.
    """
    if not files:
        return []
    count = counted(len(files), "result")
    return [
        printable(
            f"NOT PUBLISHED: {count} under the name of a published backbone, first {files[0]}. What "
            "a published row depends on is shown only by published results. To see what your own "
            "runs of this backbone depend on, rank them in a folder without the published ones."
        )
    ]


def _told(word: str, sentences: Sequence[str]) -> list[str]:
    """A note that begins with a word; none without sentences."""
    return [printable(f"{word}: {_sentences(sentences)}")] if sentences else []


def _sentences(problems: Sequence[str]) -> str:
    """The first problems, each as a sentence, and how many there are beyond them."""
    named = [text if text.endswith(".") else f"{text}." for text in problems[:_NAMED_FILES]]
    rest = len(problems) - _NAMED_FILES
    return " Also: ".join(named) + (f" And {rest} more." if rest > 0 else "")


def _listed(names: Sequence[str], most: int, separator: str) -> str:
    text = separator.join(names[:most])
    rest = len(names) - most
    return f"{text} and {rest} more" if rest > 0 else text


def board_notes(
    suite: Suite,
    rows: Sequence[BoardRow],
    shares: Mapping[str, float],
    *,
    protocol: str,
    draws: int,
    separation: Separation,
    reliabilities: Mapping[str, Reliability],
) -> list[str]:
    """Write the notes of a board in the order in which they are shown.

    Args:
        suite: The suite of the board.
        rows: Its rows.
        shares: Share of each task in the score.
        protocol: Protocol of the board.
        draws: Number of resamples of patients.
        separation: What the board can tell apart.
        reliabilities: Reliability by category letter and by task code.

    Returns:
        The sentences.
    """
    cells = [cell for row in rows for cell in row.cells.values()]
    notes = [
        *incomplete(cells),
        *_how_to_read(suite, draws),
        *_separation(separation),
        *_separating_nothing(suite, reliabilities),
        *_missing_tasks(rows),
        *_other_protocols(suite, protocol),
        *_uncounted_tasks(suite, shares),
        *_one_division(cells),
        *_areas_of_one_division(cells),
        *notes_of_results(cells),
        *_database_alone(rows, protocol),
        *_beside_anchors(rows),
    ]
    return [printable(note) for note in notes]


def _how_to_read(suite: Suite, draws: int) -> list[str]:
    notes = [
        "ETAB: mean over categories of the mean over their tasks of anchored metrics (0 the "
        "trivial predictor, 1 the named reference, not clipped). etab2022: the same mean of raw "
        "metrics (Jaccard, AUROC, R2 not below 0).",
        "Two 95 % intervals. These probes on new patients: "
        f"{draws:,} resamples of test patients, shared by all tasks and backbones. This encoder, "
        "with new training patients too: the variance over patients within one division of the "
        "folds, plus a measured share of it for the draw of the training patients, or more where the "
        "divisions differ by more or classes are decided, Student's t (in logits for one area).",
        "Ranks, and P(row above column), compare encoders. Backbones that cannot be told apart "
        "(paired difference, Holm, 5 %) share ranks. The family of tests is all pairs of ranked "
        "entries, one entry for each digest of weights.",
        "What a cell depends on besides its encoder: fold seed is the standard deviation of one "
        "seed of the folds; head, precision and data are the value with the other choice minus the "
        'value on the board; layer is how many the folds chose. "Not known": no result at hand '
        "tells.",
        "A new backbone never changes scores, order or P(row above column) of the others; it can "
        "widen their rank intervals, because Holm then corrects for more pairs.",
    ]
    if suite.precision_weights:
        notes.append(
            "etab-p: ETAB with the tasks of each category weighted by their precision, frozen in "
            f"version {suite.version} of the suite; no rank depends on it."
        )
    return notes


def _separation(separation: Separation) -> list[str]:
    if not separation.pairs:
        return []
    words = [f"Told apart: {separation.told_apart:,} of {separation.pairs:,} pairs"]
    if math.isfinite(separation.smallest):
        words.append(f"the smallest difference told apart is {separation.smallest:.3f}")
    if math.isfinite(separation.largest_tie):
        words.append(f"the largest that is not is {separation.largest_tie:.3f}")
    words.append(f"a true difference of {separation.found:.3f} is found in 80 % of cases")
    return ["; ".join(words) + "."]


def _separating_nothing(suite: Suite, reliabilities: Mapping[str, Reliability]) -> list[str]:
    """Name the tasks that tell no two backbones apart."""
    names = []
    for code in suite.tasks:
        reliability = reliabilities.get(code)
        if reliability and reliability.separation.pairs and not reliability.separation.told_apart:
            names.append(code)
    if not names:
        return []
    return [f"These tasks tell no two backbones of this board apart: {', '.join(names)}."]


def _missing_tasks(rows: Sequence[BoardRow]) -> list[str]:
    if any(row.missing for row in rows):
        return ["A backbone with a missing task has no headline rank; nothing is filled in for it."]
    return []


def _other_protocols(suite: Suite, protocol: str) -> list[str]:
    others = [f"{code} ({name})" for code, name in suite.protocols.items() if name != protocol]
    if not others:
        return []
    return [f"Protocol {protocol}; by another one: {', '.join(others)}."]


def _uncounted_tasks(suite: Suite, shares: Mapping[str, float]) -> list[str]:
    uncounted = [code for code in suite.tasks if shares[code] == 0]
    return [f"Shown and not counted: {', '.join(uncounted)}."] if uncounted else []


def _divided_once(cell: Result) -> bool:
    protocol = parse(cell.protocol)
    return protocol.sort == "cv" and protocol.repeats == 1


def _one_division(cells: Sequence[Result]) -> list[str]:
    """Say what is not known where patients were divided into folds once."""
    protocols = sorted({cell.protocol for cell in cells if _divided_once(cell)})
    if not protocols:
        return []
    return [
        f"ONE DIVISION ({', '.join(protocols)}): nothing shows what another draw of the folds "
        "moves. A verdict is of backbones in these folds: on real data one backbone under other "
        "folds is told apart from itself in 10 % of pairs, and in 29 % by Dice. Five divisions "
        "(cv5x5) show it."
    ]


def _areas_of_one_division(cells: Sequence[Result]) -> list[str]:
    """Name the tasks whose intervals are too narrow: areas of few patients, divided once."""
    codes = set()
    for cell in cells:
        few = cell.n_patients < _ENOUGH_FOR_ONE_DIVISION
        if few and METRICS[cell.metric].in_logits and _divided_once(cell):
            codes.add(cell.task)
    if not codes:
        return []
    return [
        f"TOO NARROW: {', '.join(sorted(codes))}: areas (AUROC, AUPRC) of fewer than "
        f"{_ENOUGH_FOR_ONE_DIVISION} patients who were divided into folds once. The 95 % "
        "interval of the encoder covered about 90 % with 50 and 100 patients."
    ]


def notes_of_results(cells: Sequence[Result]) -> list[str]:
    """Collect the notes that results hold, each once.

    What all results of a task hold is of the data. Of other notes the board says whose they are: a
    result could hold any sentence, also one about another backbone.

    Args:
        cells: The results.

    Returns:
        The notes, in the order of the results.
    """
    of_task = Counter(cell.task for cell in cells)
    holders: dict[str, dict[str, set[str]]] = {}
    for cell in cells:
        recorded = cell.settings.get("notes", [])
        if isinstance(recorded, list):
            for note in recorded:
                holders.setdefault(str(note), {}).setdefault(cell.task, set()).add(cell.backbone)
    notes = []
    for note, by_task in holders.items():
        of_all = any(len(names) == of_task[code] for code, names in by_task.items())
        names = sorted(set().union(*by_task.values()))
        whose = "" if of_all else f"Noted in results of {_listed(names, _NAMED_BACKBONES, ', ')}: "
        notes.append(f"{whose}{note}")
    return joined_notes(notes)


def supplied_vectors(cells: Sequence[Result]) -> list[str]:
    """Name the backbones whose vectors were computed elsewhere, as boards do in their rows.

    Args:
        cells: The results.

    Returns:
        A sentence; none where every encoder was run here.
    """
    names = sorted({cell.backbone for cell in cells if kind_of(cell.backbone, [cell]) == VECTORS})
    if not names:
        return []
    listed = _listed(names, _NAMED_BACKBONES, ", ")
    return [f"{VECTORS.capitalize()} ({listed}): computed elsewhere, so no encoder was run here."]


def _database_alone(rows: Sequence[BoardRow], protocol: str) -> list[str]:
    """Where folds share databases: the score of knowing nothing but the database."""
    notes: list[str] = []
    for row in rows:
        if row.backbone != "database_only":
            continue
        for code, cell in row.cells.items():
            pooled = cell.protocol != "lodo" and "macro_macc" in cell.metrics
            if pooled and {"auroc", "macc"} <= set(cell.metrics):
                notes.append(
                    f"{code} ({protocol}), pooled over databases: database_only has AUROC "
                    f"{cell.metrics['auroc']:.3f} and MAcc {cell.metrics['macc']:.3f}."
                )
    return notes


def _beside_anchors(rows: Sequence[BoardRow]) -> list[str]:
    """Name the tasks on which the control without any knowledge is not at the lower anchor."""
    notes: list[str] = []
    for row in rows:
        if row.backbone != "constant":
            continue
        for code, cell in row.cells.items():
            task = TASKS[code]
            anchored = task.anchored(cell.value)
            if abs(anchored) > _AT_THE_ANCHOR:
                notes.append(
                    f"On {code}, constant has an anchored value of {anchored:.3f} and not 0. The "
                    f"anchor is: {task.anchors.low_source}."
                )
    return notes
