"""Faults of subgroups and clinical read-outs."""

from tests.faults import Fault

_FILE = "tests/runs/test_subgroups.py"
FILE = "etab/runs/subgroups.py"

FAULTS = [
    Fault(
        "subgroups of other data",
        FILE,
        "    if differing:\n",
        "    if False:\n",
        (f"{_FILE}::test_other_data_have_no_groups",),
    ),
    Fault(
        "a copy of the data is not named",
        FILE,
        "    if groups.digest == result.data_digest:\n",
        "    if True:\n",
        (f"{_FILE}::test_another_copy_of_the_data_has_groups_and_is_named",),
    ),
    Fault(
        "frame rates are all alike",
        FILE,
        "    if rate < low:\n",
        "    if False:\n",
        (f"{_FILE}::test_groups_follow_from_the_facts_of_the_data",),
    ),
    Fault(
        "facts of one view are given to the other without a word",
        FILE,
        '            factors[f"{factor} of {view}"] = {\n',
        "            factors[factor] = {\n",
        (f"{_FILE}::test_facts_of_another_view_are_named",),
    ),
    Fault(
        "pictures of any view decide the groups",
        FILE,
        "            if recording in group_of:\n                group_of_item[item] = group_of[recording]\n",
        '            recording = f"{recording[:-3]}2CH"\n            group_of_item[item] = group_of[recording]\n',
        (f"{_FILE}::test_facts_of_pictures_are_those_of_the_view",),
    ),
    Fault(
        "a calibration error lies below its interval",
        "etab/metrics/clinical.py",
        "    if name in _RAISED:\n",
        "    if False:\n",
        ("tests/metrics/test_clinical.py::test_a_calibration_error_lies_in_its_interval",),
    ),
    Fault(
        "volumes are read as ejection fractions",
        "etab/metrics/clinical.py",
        "    if not ejection:\n",
        "    if False:\n",
        (
            "tests/metrics/test_clinical.py::test_volumes_have_a_bias_and_limits_and_no_ranges_of_ejection",
        ),
    ),
]
