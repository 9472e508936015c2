"""Faults of what a board says that its cells depend on."""

from tests.faults import Fault

_FILE = "tests/leaderboard/test_sensitivity.py"
FILE = "etab/leaderboard/sensitivity.py"
ADMIT = "etab/leaderboard/admission/admit.py"

FAULTS = [
    Fault(
        "a second head is ranked",
        ADMIT,
        "    other_heads = [entries.pop(path).result for path in _second_heads(entries)]\n",
        "    other_heads: list[Result] = []\n",
        (f"{_FILE}::test_another_head_is_shown_and_never_ranked",),
    ),
    Fault(
        "two choices count as one",
        FILE,
        "changed[0] if len(changed) == 1 else",
        "changed[0] if changed else",
        (f"{_FILE}::test_results_of_another_question_tell_nothing",),
    ),
    Fault(
        "few labels count as another seed",
        FILE,
        '    "protocol",\n',
        "",
        (f"{_FILE}::test_results_of_another_question_tell_nothing",),
    ),
    Fault(
        "a head's name is free text",
        FILE,
        'return name if NAME.fullmatch(name) else "another one"',
        "return name",
        (f"{_FILE}::test_names_of_strangers_do_not_reach_the_board",),
    ),
    Fault(
        "the nearest other value counts",
        FILE,
        "name = max(value_of",
        "name = min(value_of",
        (f"{_FILE}::test_the_farthest_of_several_heads_counts",),
    ),
]
