"""Faults of tables of one's own: rows that are lost or changed in silence, patients that become one."""

from tests.faults import Fault

_ACROSS = "etab/datasets/own/across.py"
_CELLS = "etab/datasets/own/cells.py"
_CUTS = "tests/datasets/test_own_cuts.py"
_EXPORTS = "tests/datasets/test_own_exports.py"


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_own_slips.py::{name}",)


FAULTS = [
    Fault(
        "own tables: names may have line breaks",
        "etab/datasets/own/table.py",
        "        if len(text.splitlines()) > 1:",
        "        if False:",
        _tests("test_a_row_that_is_no_row_is_told"),
    ),
    Fault(
        "own tables: cells beyond the columns are dropped",
        _CELLS,
        "    elif surplus:\n",
        "    elif False:\n",
        _tests("test_a_row_that_is_no_row_is_told"),
    ),
    Fault(
        "own tables: an open quote takes in rows",
        _CELLS,
        "    if swallowed:\n",
        "    if False:\n",
        _tests("test_a_row_that_is_no_row_is_told"),
    ),
    Fault(
        "own tables: of two columns with one name the last wins",
        _CELLS,
        "            if self.header.count(column) > 1:\n",
        "            if False:\n",
        _tests("test_a_file_that_is_no_table_is_told"),
    ),
    Fault(
        "own tables: ids that a spreadsheet shortened are one patient",
        "etab/datasets/own/table.py",
        "    if spoiled:\n",
        "    if False:\n",
        _tests("test_a_row_that_is_no_row_is_told"),
    ),
    Fault(
        "own tables: the class none is unknown",
        "etab/datasets/own/table.py",
        "is_blank(text) and text.strip() not in label.classes",
        "is_blank(text)",
        _tests("test_none_is_a_class_where_it_is_named_and_told_where_it_is_not"),
    ),
    Fault(
        "own tables: a copy of another patient passes",
        "etab/datasets/own/check.py",
        "        problems += _copies(table, prints)\n",
        "",
        _tests("test_a_copy_of_another_patient_is_told"),
    ),
    Fault(
        "own tables: another study is the same data",
        "etab/datasets/own/source.py",
        "[*facts, *rows, *frames, *groups]",
        "[*facts, *rows, *frames]",
        _tests("test_another_study_or_group_is_other_data"),
    ),
    Fault(
        "own tables: lines are counted without blank ones",
        "etab/readers/table.py",
        "            number = first + reader.line_num\n",
        "            number += 1 if cells else 0\n",
        _tests("test_lines_are_counted_as_an_editor_counts_them"),
    ),
    Fault(
        "own tables: an id given twice is called a file listed twice",
        _ACROSS,
        '    if role == "file":\n',
        "    if True:\n",
        _tests("test_an_id_given_twice_is_not_called_a_file_listed_twice"),
    ),
    Fault(
        "own tables: files with accents are missing where another system stored them",
        "etab/datasets/own/paths.py",
        "        if exists(folder / other):\n",
        "        if False:\n",
        _tests("test_accents_are_read_however_they_are_stored"),
    ),
    Fault(
        "own tables: a split that leaves recordings out is dropped in silence",
        "etab/datasets/own/remarks.py",
        "    if not 0 < blank < len(rows):\n",
        "    if True:\n",
        _tests("test_a_split_that_leaves_recordings_out_is_told"),
    ),
    Fault(
        "own tables: init takes folds for parts of a split",
        "etab/datasets/own/columns.py",
        '    if role == "split":\n',
        '    if role == "never":\n',
        (
            "tests/datasets/test_draft.py::test_columns_whose_cells_are_of_another_kind_have_no_role",
        ),
    ),
    Fault(
        "own tables: of two rows that contradict each other the first one counts",
        _ACROSS,
        "        if problem[0] == _TWO_STORIES:\n",
        "        if False:\n",
        (f"{_EXPORTS}::test_two_rows_of_one_file_that_contradict_each_other_are_both_left_out",),
    ),
    Fault(
        "own tables: a class that contradicts its value passes",
        _ACROSS,
        "if (value < cut.below) != (row.values[label.name] == 1):",
        "if False:",
        (f"{_CUTS}::test_a_class_agrees_with_its_value",),
    ),
    Fault(
        "own tables: a class that is cut from a value passes without it",
        _ACROSS,
        "    if value is None:\n",
        "    if value is None:\n        return None\n    if value is None:\n",
        (f"{_CUTS}::test_a_class_agrees_with_its_value",),
    ),
    Fault(
        "own tables: the cut is no part of the data",
        "etab/datasets/own/source.py",
        "for label in labels if label.cut is not None]",
        "for label in labels if False]",
        (f"{_CUTS}::test_the_digest_of_data_knows_the_cut_and_is_as_before_without_one",),
    ),
    Fault(
        "own tables: init writes the class above the cut last",
        "etab/datasets/own/cuts.py",
        "list_of([cut.above, cut.below])",
        "list_of(sorted([cut.above, cut.below]))",
        (f"{_CUTS}::test_init_writes_the_cut_with_the_class_below_last",),
    ),
    Fault(
        "own tables: recordings without an outcome reach the metrics that need it",
        _ACROSS,
        '            if name in row.values and "outcome" not in row.values:\n',
        "            if False:\n",
        (f"{_EXPORTS}::test_a_metric_of_outcomes_lists_the_rows_without_one",),
    ),
    Fault(
        "own tables: a metric without its column fails after the fit",
        "etab/runs/cell.py",
        "    _refuse_unscored(run.row, work.rows)\n",
        "",
        (f"{_EXPORTS}::test_a_metric_without_its_column_is_refused_before_anything_is_fitted",),
    ),
    Fault(
        "own tables: fractions among percentages pass in silence",
        "etab/datasets/own/remarks.py",
        'if label.unit == "%" and fractions and highest > _SURELY_PERCENT:',
        "if False:",
        (f"{_EXPORTS}::test_fractions_among_percentages_and_blank_labels_are_told",),
    ),
]
