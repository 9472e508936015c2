"""Faults of tables that other programs saved again."""

from tests.faults import Fault

TABLE = "etab/readers/table.py"
CIRCOR = "etab/datasets/circor.py"
CIRCOR_FILES = "etab/datasets/circor_layout.py"
CINC_FILES = "etab/datasets/cinc2016_layout.py"
ECHONET = "etab/datasets/echonet.py"
TESTS = ("tests/readers/test_table.py",)
BAD = ("tests/datasets/test_bad_sound_trees.py",)

FAULTS = [
    Fault(
        "table: 46.0 is no whole number",
        TABLE,
        "if value is None or value != int(value):",
        "if value is None or not (text or '').strip().lstrip('+-').isdigit():",
        TESTS,
    ),
    Fault("table: blanks differ from nan", TABLE, '{"", "nan",', '{"nan",', TESTS),
    Fault("table: numbers compared as text", TABLE, "rel_tol=_TOLERANCE", "rel_tol=0", TESTS),
    Fault(
        "table: an identifier keeps its point",
        TABLE,
        "return match[1] if match else stripped",
        "return stripped",
        TESTS,
    ),
    Fault(
        "table: index column is data",
        TABLE,
        "if len(rows) < 2 or rows[0][0] not in _INDEX_NAMES:",
        "if True:",
        TESTS,
    ),
    Fault(
        "table: semicolons are text",
        TABLE,
        '_DELIMITERS = (",", ";", "\\t", "|")',
        '_DELIMITERS = (",",)',
        TESTS,
    ),
    Fault(
        "table: decimal commas stay",
        TABLE,
        'return cell.replace(",", ".")',
        "return cell",
        TESTS,
    ),
    Fault(
        "table: byte-order mark stays",
        TABLE,
        'else "utf-8-sig"',
        'else "utf-8"',
        TESTS,
    ),
    Fault(
        "table: a column named twice",
        TABLE,
        "if header.count(column) > 1:",
        "if False:",
        TESTS,
    ),
    Fault(
        "circor: a header of pandas is a state",
        CIRCOR_FILES,
        "if len(lines) > 1 and is_numbered_header(lines[0]):",
        "if False:",
        TESTS,
    ),
    Fault(
        "circor: table and text compared letter by letter",
        CIRCOR,
        "if not same_cell(in_table, in_text):",
        "if in_table != in_text:",
        TESTS,
    ),
    Fault(
        "circor: an odd height ends the list",
        CIRCOR_FILES,
        "value = parse_number(facts.get(key))",
        'value = float(facts.get(key, "nan"))',
        BAD,
    ),
    Fault(
        "circor: a wrong attribute is silent",
        CIRCOR,
        "if word not in target.classes:\n        raise",
        "if word not in target.classes:\n        return None\n        raise",
        BAD,
    ),
    Fault(
        "cinc2016: labels compared letter by letter",
        CINC_FILES,
        "label = parse_whole(row[1]) if len(row) > 1 else None",
        "label = int(row[1]) if row[1:] and row[1].lstrip('-').isdigit() else None",
        TESTS,
    ),
    Fault(
        "echonet: frames as written",
        ECHONET,
        'frame = parse_whole(row["Frame"])',
        'frame = int(row["Frame"])',
        TESTS,
    ),
    Fault(
        "table: the labels of DICOM files keep 7.0 for a patient",
        "etab/datasets/dicom.py",
        'label["patient"] = plain_identifier(label.get("patient"))',
        'label["patient"] = label.get("patient", "")',
        ("tests/readers/test_dicom.py::test_labels_saved_by_other_programs",),
    ),
    Fault(
        "table: an answer of 1.0 is none",
        "etab/challenges/scoring.py",
        "value = parse_whole(row[1]) if len(row) == 2 else None",
        "value = int(row[1]) if len(row) == 2 and row[1].lstrip('+-').isdigit() else None",
        ("tests/challenges/test_scoring.py::test_numbers_saved_by_other_programs_are_numbers",),
    ),
]
