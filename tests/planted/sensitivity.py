"""Faults of what a board says that its cells depend on."""

from tests.faults import Fault

_FILE = "tests/leaderboard/test_sensitivity.py"
FILE = "etab/leaderboard/sensitivity.py"
VARIANTS = "etab/leaderboard/variants.py"
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
        VARIANTS,
        "return changed[0] if len(changed) == 1 else",
        "return changed[0] if changed else",
        (f"{_FILE}::test_results_of_another_question_tell_nothing",),
    ),
    Fault(
        "few labels count as another seed",
        VARIANTS,
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
        "of results that contradict each other, the first counts",
        VARIANTS,
        "elif _differ(*_ends(variants)):",
        "elif False:",
        (f"{_FILE}::test_results_of_the_same_choices_with_other_values_do_not_count",),
    ),
    Fault(
        "a result that contradicts the ranked one is not told",
        VARIANTS,
        "one for one in variants if _differ(one.value, cell.value)",
        "one for one in variants if False",
        (f"{_FILE}::test_a_result_that_contradicts_the_ranked_one_is_told",),
    ),
    Fault(
        "the nearest other value counts",
        FILE,
        "name = max(value_of",
        "name = min(value_of",
        (f"{_FILE}::test_the_farthest_of_several_heads_counts",),
    ),
    Fault(
        "anybody's second head counts for a published row",
        VARIANTS,
        "        if changed != [DATA] and _is_unpublished_beside(cell, result, changed):\n",
        "        if False:\n",
        (f"{_FILE}::test_what_a_published_row_depends_on_is_said_by_published_results_alone",),
    ),
    Fault(
        "another head takes the place of a published cell",
        ADMIT,
        "return not is_published_cell(entry.result), _other_head(entry),",
        "return False, _other_head(entry),",
        (f"{_FILE}::test_what_a_published_row_depends_on_is_said_by_published_results_alone",),
    ),
    Fault(
        "a size in a name is another backbone",
        "etab/leaderboard/admission/canonical.py",
        "    base = known.get(published_stem(name))\n",
        "    base = known.get(name)\n",
        (
            "tests/leaderboard/admission/test_borrowed_names.py::"
            "test_a_published_backbone_at_another_size_has_its_weights",
        ),
    ),
]
