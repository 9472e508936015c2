"""Faults of backbones of users: what a function receives, what it returns, names of packages."""

from tests.faults import Fault

_FUNCTION = "etab/backbones/own/function.py"
_OUTPUT = "etab/backbones/own/output.py"


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/backbones/test_function.py::{name}",)


FAULTS = [
    Fault(
        "own: rows that are missing pass",
        _OUTPUT,
        "if shape[0] != n:",
        "if False:",
        _tests("test_what_is_no_output_is_refused_at_once"),
    ),
    Fault(
        "own: NaN is stored",
        _OUTPUT,
        "if not bool(torch.isfinite(numbers).all()):",
        "if False:",
        _tests("test_values_that_are_not_finite_are_refused"),
    ),
    Fault(
        "own: batches of another width pass",
        _OUTPUT,
        "if shapes != self._first:",
        "if False:",
        _tests("test_widths_that_differ_between_batches_are_refused"),
    ),
    Fault(
        "own: the layout of clips is ignored",
        _FUNCTION,
        'if self.kind.layout == "TCHW":',
        'if self.kind.layout == "CTHW":',
        _tests("test_clips_are_what_is_documented"),
    ),
    Fault(
        "own: the input is no part of the identity",
        _FUNCTION,
        'f"{content} {kind!r}"',
        'f"{content}"',
        _tests("test_functions_are_told_apart_by_content_version_and_input"),
    ),
    Fault(
        "own: parts of a recording follow each other without their start",
        "etab/backbones/sound/parts.py",
        "moments = start + centres",
        "moments = centres",
        _tests("test_steps_of_a_recording_have_their_true_times"),
    ),
    Fault(
        "own: the rate of a clip is ignored",
        "etab/backbones/video/contract.py",
        "if self.fps is None:",
        "if True:",
        _tests("test_a_clip_of_a_rate_needs_the_rate_of_the_recording"),
    ),
    Fault(
        "own: the first of two packages wins",
        "etab/backbones/own/installed.py",
        "if len(packages) > 1:",
        "if False:",
        ("tests/backbones/test_installed.py::test_two_packages_with_one_name_are_refused",),
    ),
]
