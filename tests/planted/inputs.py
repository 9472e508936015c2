"""Faults of what the rows of a task are made of."""

from tests.faults import Fault

_TESTS = ("tests/tasks/test_inputs.py",)
_STUDIES = ("tests/features/test_studies.py",)

FAULTS = [
    Fault(
        "maps of a letterbox are not mapped back to the picture",
        "etab/features/frames.py",
        "wrapped = prepared if card.fit == SQUASH else OnFrames(prepared, reading.boxes())",
        "wrapped = prepared",
        ("tests/features/test_letterbox.py",),
    ),
    Fault(
        "evaluate refuses a name with a fit",
        "etab/backbones/sizes.py",
        "if size is None and fit == SQUASH:",
        "if False:",
        ("tests/backbones/test_sizes.py",),
    ),
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
    Fault(
        "ES stands before ED in a row of several views",
        "etab/features/studies.py",
        "for phase, keys_of in enumerate(phases):",
        "for phase, keys_of in enumerate(phases[::-1]):",
        _STUDIES,
    ),
    Fault(
        "an absent view reads the last frame",
        "etab/features/studies.py",
        "np.where(is_present, of_views, mean)",
        "np.where(True, of_views, mean)",
        _STUDIES,
    ),
    Fault(
        "views that differ in their answer go on",
        "etab/features/studies.py",
        "if len(answers) > 1:",
        "if len(answers) > 2:",
        _STUDIES,
    ),
    Fault(
        "the biplane task is run with its dataset",
        "etab/tasks/menu.py",
        'inputs="views",\n        extra=True,',
        'inputs="views",\n        extra=False,',
        _STUDIES,
    ),
    Fault(
        "fine-tuning takes rows of several views",
        "etab/finetuning/plan.py",
        "if row.several_views:",
        "if False:",
        _STUDIES,
    ),
    Fault(
        "an absent place reads the last window",
        "etab/features/tokens.py",
        "of_rows[frames == ABSENT] = np.nan",
        "pass",
        _STUDIES,
    ),
    Fault(
        "of several recordings of a view the last one counts",
        "etab/features/studies.py",
        "means[present, block] += np.asarray(values[keys[present]])",
        "means[present, block] = np.asarray(values[keys[present]])",
        _STUDIES,
    ),
    Fault(
        "a result does not tell that views are absent",
        "etab/tasks/protocol_rows.py",
        "(undefined, absent_note(task.code, rows))",
        "(undefined,)",
        _STUDIES,
    ),
    Fault(
        "a study of several patients goes on",
        "etab/features/studies.py",
        "if len(patients) > 1:",
        "if False:",
        _STUDIES,
    ),
    Fault(
        "a table takes a rule that has nothing to combine",
        "etab/tasks/own_labels.py",
        "if label.aggregate:",
        "if False:",
        _STUDIES,
    ),
]
