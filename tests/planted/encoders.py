"""Faults of what a user says of an encoder, and of what its function returns."""

from tests.faults import Fault

_OUTPUT = "etab/backbones/own/output.py"
_SEEN = "tests/runs/test_pretraining_sets.py"
_WRONG = "tests/backbones/test_wrong_functions.py"

FAULTS = [
    Fault(
        "encoders: features share the memory of the function",
        _OUTPUT,
        "values.detach().to(torch.float32, copy=True)",
        "values.detach().to(torch.float32)",
        (f"{_WRONG}::test_a_function_that_fills_one_array_gives_every_batch_its_own_values",),
    ),
    Fault(
        "encoders: layers of batches in another order are mixed",
        _OUTPUT,
        "if list(shapes) != list(self._first):",
        "if False:",
        (f"{_WRONG}::test_a_wrong_function_is_told_as_what_it_is",),
    ),
    Fault(
        "encoders: steps may lie at any time",
        _OUTPUT,
        "if abs(last - wanted) > max(2 * kind.hop, _UNEVEN * kind.seconds):",
        "if False:",
        (f"{_WRONG}::test_steps_whose_times_do_not_span_a_part_are_refused",),
    ),
    Fault(
        "encoders: a result is served after its pretraining is told",
        "etab/runs/record.py",
        "if seen != bool(seen_tasks({task.code: stored})):",
        "if False:",
        (f"{_SEEN}::test_a_stored_result_is_not_served_after_its_pretraining_is_told",),
    ),
    Fault(
        "encoders: a control is pretrained",
        "etab/backbones/pretraining.py",
        "if not card.learned or card.twin:",
        "if False:",
        (f"{_SEEN}::test_data_are_told_of_learned_backbones_alone",),
    ),
    Fault(
        "encoders: the settings of a processor are believed",
        "etab/backbones/hub/normalisation.py",
        "if listed is not None and _agree(listed, (mean, std)):",
        "if listed is not None:",
        ("tests/backbones/test_hub.py::test_a_processor_that_does_more_than_it_says_is_obeyed",),
    ),
    Fault(
        "encoders: a processor that is no scale is taken for one",
        "etab/backbones/hub/normalisation.py",
        "is_linear = np.abs(grey - expected) <= _ROUNDING * (np.abs(span) + 1)",
        "is_linear = np.abs(grey - expected) >= 0",
        ("tests/backbones/test_hub.py::test_a_processor_that_is_no_scale_is_refused",),
    ),
    Fault(
        "encoders: the rows of a control are in any order",
        "etab/testing/recordings.py",
        "assert np.allclose(rows[::-1], turned.pooled[name]), (",
        "assert len(rows) == len(turned.pooled[name]), (",
        ("tests/backbones/test_sound.py::test_a_faulty_control_does_not_meet_the_contract",),
    ),
    Fault(
        "leaks: a board lists a pair once for each view",
        "etab/leaderboard/notes.py",
        "return joined_notes(notes)",
        "return list(dict.fromkeys(notes))",
        ("tests/leaderboard/test_notes.py::test_pairs_that_are_alike_are_listed_once_on_a_board",),
    ),
]
