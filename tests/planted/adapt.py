"""Faults of adaptation."""

from tests.faults import Fault


def _test(name: str) -> tuple[str]:
    return (f"tests/finetuning/test_adaptation.py::test_{name}",)


_ALONG = _test("the_source_is_trained_once_for_all_targets_and_the_backbone_is_taken_along")
FAULTS = [
    Fault(
        "the adapted backbone is left behind",
        "etab/finetuning/work.py",
        '        if "body" in self.trained:\n',
        "        if False:\n",
        _ALONG,
    ),
    Fault(
        "a kept backbone trains",
        "etab/tasks/protocols.py",
        '        if self.tuning == "head":\n            return 0\n',
        '        if self.tuning == "head":\n            return None\n',
        _ALONG,
    ),
    Fault(
        "the source is not in the name",
        "etab/tasks/protocols.py",
        "        if self.source:\n            tuning = ",
        "        if False:\n            tuning = ",
        _test("names_say_the_source_and_mean_the_same_splits"),
    ),
    Fault(
        "the source head is not compared",
        "etab/finetuning/plan.py",
        "[protocol.source, self.source_head]",
        "[protocol.source]",
        _test("a_cell_says_its_source_and_stands_apart"),
    ),
    Fault(
        "who the source trained on is tested",
        "etab/finetuning/work.py",
        "            if both:\n                raise SplitError(\n",
        "            if False:\n                raise SplitError(\n",
        _test("who_the_source_trained_on_is_never_tested"),
    ),
    Fault(
        "a source head without a source passes",
        "etab/finetuning/plan.py",
        "        elif self.source_head:\n",
        "        elif False:\n",
        _test("what_cannot_be_adapted_is_refused_before_anything_is_read"),
    ),
]
