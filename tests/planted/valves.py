"""Faults of BMD-HS: labels of other columns, files of other rows, copies kept."""

from tests.faults import Fault

_FILE = "etab/datasets/bmdhs.py"


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_bmdhs.py::{name}",)


FAULTS = [
    Fault(
        "BMD-HS: several diseases are the first one",
        _FILE,
        'return diseases[0] if len(diseases) == 1 else "MD"',
        "return diseases[0]",
        _tests("test_every_person_has_their_recordings_labels_and_facts"),
    ),
    Fault(
        "BMD-HS: a file of a longer name is not found",
        _FILE,
        "if len(alike) == 1:",
        "if False:",
        _tests("test_the_quirks_of_the_release_are_read_and_told"),
    ),
    Fault(
        "BMD-HS: one of two possible files is chosen",
        _FILE,
        "if len(alike) == 1:",
        "if alike:",
        _tests("test_two_files_that_could_be_meant_are_not_chosen_from"),
    ),
    Fault(
        "BMD-HS: a repaired recording is left out as a copy",
        _FILE,
        "if paths[first].read_bytes() == paths[second].read_bytes():",
        "if True:",
        _tests("test_a_repaired_recording_is_listed"),
    ),
    Fault(
        "BMD-HS: healthy people, who are younger, are among those without a stenosis",
        _FILE,
        "return (Answer(int(target.name in diseases)),) if diseases else ()",
        "return (Answer(int(target.name in diseases)),)",
        _tests("test_every_person_has_their_recordings_labels_and_facts"),
    ),
    Fault(
        "BMD-HS: N and the diseases may contradict each other",
        _FILE,
        'if diseased == bool(values["N"]):',
        "if False:",
        _tests("test_a_table_that_contradicts_itself_is_refused"),
    ),
]
