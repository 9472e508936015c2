"""Faults of published lists of folds: leaks that pass, people that are not told, names that mix."""

from tests.faults import Fault

_FILE = "etab/tasks/lists.py"


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/tasks/test_lists.py::{name}",)


FAULTS = [
    Fault(
        "lists: an id in two parts passes",
        _FILE,
        "        if both:\n",
        "        if False:\n",
        _tests("test_lists_that_leak_or_lack_a_part_are_refused"),
    ),
    Fault(
        "lists: a row is tested twice",
        _FILE,
        "        if again:\n",
        "        if False:\n",
        _tests("test_other_slips_are_named"),
    ),
    Fault(
        "lists: divided people are not told",
        _FILE,
        "    if divided:\n",
        "    if False:\n",
        _tests("test_lists_of_recordings_tell_the_people_they_divide"),
    ),
    Fault(
        "lists: the name does not depend on the folds",
        _FILE,
        '    key = f"{stem}@{_digest(folds)}"\n',
        '    key = f"{stem}@{_digest(())}"\n',
        _tests("test_another_list_has_another_name"),
    ),
    Fault(
        "lists: validation rows are not trained on",
        _FILE,
        '        train = np.sort(np.concatenate([chosen["train"], chosen["val"]]))\n',
        '        train = chosen["train"]\n',
        _tests("test_three_forms_of_a_file_are_one_list"),
    ),
    Fault(
        "lists: few labels of a list are every label",
        "etab/tasks/protocol_rows.py",
        "        return protocol.narrowed(listed, rows.patients, rows.answers, kind, seed)\n",
        "        return listed\n",
        _tests("test_endings_narrow_the_folds_of_a_list"),
    ),
    Fault(
        "lists: a board takes the name of the file for the name in results",
        "etab/cli/words.py",
        "    return parse(protocol).name\n",
        "    return protocol\n",
        ("tests/cli/test_list_commands.py::test_protocols_that_do_not_exist_are_named",),
    ),
    Fault(
        "lists: a list of etab is lost in a worker",
        _FILE,
        "    if key not in _read and name in SHIPPED:\n",
        "    if False:\n",
        _tests("test_a_list_of_etab_is_found_again_by_its_key"),
    ),
]
