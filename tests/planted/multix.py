"""Faults of UnityLV-MultiX and of its human ceiling."""

from tests.faults import Fault

_FILE = "etab/datasets/unitylv.py"


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_unitylv.py::{name}",)


FAULTS = [
    Fault(
        "UnityLV: a tie of the readers counts as inside",
        _FILE,
        "np.asarray(2 * votes > len(masks))",
        "np.asarray(2 * votes >= len(masks))",
        _tests("test_the_consensus_is_what_more_than_half_include"),
    ),
    Fault(
        "UnityLV: a reader is compared with a consensus that includes the reader",
        "benchmarks/readers.py",
        "for name, other in readings.items() if name != reader]",
        "for name, other in readings.items()]",
        _tests("test_a_reader_is_compared_with_the_others_alone"),
    ),
    Fault(
        "UnityLV: labels that are no curve are outlines",
        _FILE,
        ' or label.get("type") != "curve":',
        ":",
        _tests("test_another_kind_of_label_is_no_outline"),
    ),
    Fault(
        "UnityLV: a missing picture is dropped silently",
        _FILE,
        "        if not absent:\n            return\n",
        "        return\n",
        _tests("test_a_missing_picture_is_named_or_left_out"),
    ),
]
