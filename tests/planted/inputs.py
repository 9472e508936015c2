"""Faults of what the rows of a task are made of."""

from tests.faults import Fault

_TESTS = ("tests/tasks/test_inputs.py",)

FAULTS = [
    Fault(
        "a task takes any word as its inputs",
        "etab/tasks/base.py",
        "row = ROW_INPUTS[self.inputs]\n        if row.clip",
        'row = ROW_INPUTS[self.inputs if self.inputs in ROW_INPUTS else "ED+ES"]\n        if row.clip',
        _TESTS,
    ),
    Fault(
        "phases are taken from data that mark none",
        "etab/features/base.py",
        "if row.phases and all(target.name != PHASE_TARGET for target in data.targets):",
        "if False:",
        _TESTS,
    ),
    Fault(
        "pictures are taken for sound",
        "etab/features/base.py",
        'if (row.modality == "sound") != (data.modality == "sound"):',
        "if False:",
        _TESTS,
    ),
    Fault(
        "data without a frame go on",
        "etab/features/frames.py",
        "if not keys:",
        "if False:",
        _TESTS,
    ),
    Fault(
        "a plan does not look at what the data mark",
        "etab/runs/run.py",
        "input_of(task).check(task, source)",
        "pass",
        _TESTS,
    ),
]
