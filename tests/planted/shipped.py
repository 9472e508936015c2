"""Faults of the descriptions that travel with etab."""

from tests.faults import Fault

_FILE = "etab/datasets/own/shipped.py"


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_shipped.py::{name}",)


FAULTS = [
    Fault(
        "shipped: copies with different labels are kept",
        _FILE,
        "            contradictory += copies\n",
        "            pass\n",
        _tests("test_copies_of_one_label_are_listed_once_and_of_two_labels_never"),
    ),
    Fault(
        "shipped: copies with one label are kept",
        _FILE,
        "repeated += copies[1:]",
        "repeated += []",
        _tests("test_copies_of_one_label_are_listed_once_and_of_two_labels_never"),
    ),
    Fault(
        "shipped: results do not carry the notes of the description",
        "etab/datasets/own/source.py",
        "return (name, *self.description.notes)",
        "return (name,)",
        _tests("test_every_recording_has_the_class_of_its_folder"),
    ),
    Fault(
        "shipped: recordings of no class are dropped silently",
        _FILE,
        "    if strangers:\n",
        "    if False:\n",
        _tests("test_folders_of_no_class_and_classes_without_a_folder_are_refused"),
    ),
]
