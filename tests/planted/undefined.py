"""Faults of rows without a metric, and of sounds that are left out one by one."""

from tests.faults import Fault

ROWS = "etab/tasks/rows.py"
ONE = ("tests/runs/test_undefined_rows.py",)
SOUNDS = ("tests/runs/test_skip_bad_sounds.py",)

FAULTS = [
    Fault(
        "undefined: empty masks are rows",
        ROWS,
        "if kind is Kind.MASK and not np.any(answer):",
        "if False:",
        ONE,
    ),
    Fault(
        "undefined: rows left out have no name",
        "etab/tasks/protocol_rows.py",
        "for note in (undefined, absent_note(task.code, rows)) if note",
        "for note in (absent_note(task.code, rows),) if note",
        ONE,
    ),
    Fault(
        "undefined: the terminal is silent",
        "etab/runs/sweep.py",
        "for note in dict.fromkeys(undefined) if note]",
        "for note in dict.fromkeys(undefined) if not note]",
        ONE,
    ),
    Fault(
        "circor: one patient ends the list",
        "etab/datasets/circor.py",
        "self._give_up(Fault(path.stem, str(error), path.stem), error)",
        "raise",
        SOUNDS,
    ),
    Fault(
        "cinc2016: one recording ends the list",
        "etab/datasets/cinc2016.py",
        "if absent and not copies and self.faults is None:",
        "if absent and not copies:",
        SOUNDS,
    ),
]
