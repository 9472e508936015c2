"""Faults of EchoNet-LVH, EchoNet-Pediatric, Unity Imaging and the scaffold."""

from tests.faults import Fault

LVH, PEDIATRIC, UNITY = (f"etab/datasets/{name}.py" for name in ("lvh", "pediatric", "unity"))


def _of(file: str, test: str) -> tuple[str, ...]:
    return (f"tests/datasets/measured/{file}.py::{test}",)


def _scaffold(test: str) -> tuple[str, ...]:
    return (f"tests/cli/test_scaffold.py::{test}",)


FAULTS = [
    Fault(
        "X1, Y1, X2, Y2 read in the order of other tables",
        LVH,
        'for axis in "XY"] for end in (1, 2)',
        'for axis in (1, 2)] for end in "XY"',
        _of("test_lvh", "test_lvh_phases_and_points"),
    ),
    Fault(
        "the points of another measurement",
        LVH,
        '("IVSd", "LVIDd", "LVPWd").index',
        '("LVIDd", "IVSd", "LVPWd").index',
        _of("test_lvh", "test_lvh_phases_and_points"),
    ),
    Fault(
        "cm handed out as mm",
        LVH,
        "Answer(m.value, m.at)",
        "Answer(10 * m.value, m.at)",
        _of("test_lvh", "test_lvh_says_what_the_table_says"),
    ),
    Fault(
        "the rate of a shifted row",
        LVH,
        "return rate if aligned and",
        "return rate if",
        _of("test_lvh", "test_lvh_rates_of_rows_that_do_not_say"),
    ),
    Fault(
        "points outside stay",
        LVH,
        "np.where(outside.any(axis=1, keepdims=True), np.nan, measure.points)",
        "measure.points",
        _of("test_lvh", "test_lvh_points_outside_and_rows_twice"),
    ),
    Fault(
        "a measurement written twice counts twice",
        LVH,
        "measures.setdefault((measure.calc, measure.at), measure)",
        "measures[measure.calc, len(measures)] = measure",
        _of("test_lvh", "test_lvh_points_outside_and_rows_twice"),
    ),
    Fault(
        "a measured frame beyond the end passes",
        LVH,
        "if measures and measures[-1].at >=",
        "if False and measures[-1].at >=",
        _of("test_lvh", "test_damage_is_named"),
    ),
    Fault(
        "a measured video in two splits passes",
        LVH,
        "check_leaks(Record(",
        "list(Record(",
        _of("test_lvh", "test_damage_is_named"),
    ),
    Fault(
        "a video that no batch holds is left out",
        LVH,
        "        if absent:\n",
        "        if False:\n",
        _of("test_lvh", "test_damage_is_named"),
    ),
    Fault(
        "ED and ES of LVH swapped",
        LVH,
        "enumerate((DIASTOLIC_CALCS, SYSTOLIC_CALCS))",
        "enumerate((SYSTOLIC_CALCS, DIASTOLIC_CALCS))",
        _of("test_lvh", "test_lvh_phases_and_points"),
    ),
    Fault(
        "fold 0 is for training",
        PEDIATRIC,
        '{0: "test", 1: "val"}',
        '{9: "test", 1: "val"}',
        _of("test_pediatric", "test_pediatric_facts"),
    ),
    Fault(
        "every study is a patient",
        PEDIATRIC,
        'patient = name.split("-")[0]',
        "patient = name",
        _of("test_pediatric", "test_pediatric_facts"),
    ),
    Fault(
        "a child in two folds passes",
        PEDIATRIC,
        '            check_leaks(records, "each FileList.csv")\n',
        "",
        _of("test_pediatric", "test_damage_is_named"),
    ),
    Fault(
        "polygon vertices sorted",
        PEDIATRIC,
        "filled(points[:, 0], points[:, 1],",
        "filled(np.sort(points[:, 0]), points[:, 1],",
        _of("test_pediatric", "test_pediatric_masks_are_the_polygons"),
    ),
    Fault(
        "frames counted from 1",
        PEDIATRIC,
        "[int(frame)].append",
        "[int(frame) - 1].append",
        _of("test_pediatric", "test_pediatric_masks_are_the_polygons"),
    ),
    Fault(
        "a trace beyond the end is an answer",
        PEDIATRIC,
        "for number in sorted(traces) if number < n",
        "for number in sorted(traces)",
        _of("test_pediatric", "test_pediatric_quirks"),
    ),
    Fault(
        "a trace of nothing is a mask",
        PEDIATRIC,
        "if not mask.any():",
        "if False:",
        _of("test_pediatric", "test_damage_is_named"),
    ),
    Fault(
        "the smaller cavity is ED",
        "etab/datasets/traced.py",
        "Answer(late, first), Answer(1 - late, last)",
        "Answer(1 - late, first), Answer(late, last)",
        _of("test_pediatric", "test_pediatric_phases_by_area"),
    ),
    Fault(
        "x and y of a point swapped",
        UNITY,
        "out[row] = x, y",
        "out[row] = y, x",
        _of("test_unity", "test_unity_facts"),
    ),
    Fault(
        "tuning pictures are tested on",
        UNITY,
        '"tune": "val", "ival": "test"',
        '"tune": "test", "ival": "val"',
        _of("test_unity", "test_unity_facts"),
    ),
    Fault(
        "an off structure is a point",
        UNITY,
        'or label.get("type") != "point"',
        'or label.get("type") == "curve"',
        _of("test_unity", "test_unity_facts"),
    ),
    Fault(
        "points outside a picture stay",
        UNITY,
        "points = np.where(outside, np.nan, points)",
        "",
        _of("test_unity", "test_unity_facts"),
    ),
    Fault(
        "a picture in two parts passes",
        UNITY,
        "if home.setdefault(name, part) != part:",
        "if False:",
        _of("test_unity", "test_damage_is_named"),
    ),
    Fault(
        "a DICOM file in two parts passes",
        UNITY,
        "            check_leaks(records)\n",
        "",
        _of("test_unity", "test_damage_is_named"),
    ),
    Fault(
        "labelled pictures may be missing",
        UNITY,
        "            self._check_present(records)\n",
        "",
        _of("test_unity", "test_damage_is_named"),
    ),
    Fault(
        "cm of a pixel taken for mm",
        UNITY,
        "(10 * y, 10 * x)",
        "(y, x)",
        _of("test_unity", "test_unity_quirks"),
    ),
    Fault(
        "keypoints stay where they were",
        "etab/datasets/pictures.py",
        "(points + 0.5) * scale - 0.5 + shift",
        "points * 1.0",
        _of("test_lvh", "test_keypoints_move_with_the_picture"),
    ),
    Fault(
        "keypoints ignore the padding",
        "etab/datasets/pictures.py",
        "* scale - 0.5 + shift)",
        "* scale - 0.5)",
        _of("test_lvh", "test_keypoints_move_with_the_picture"),
    ),
    Fault(
        "tasks of version 0 run unasked",
        "etab/tasks/menu.py",
        "ready = [t for t in current if t.version > 0]",
        "ready = current",
        _of("test_measured_sources", "test_tasks_without_measured_anchors_are_run_by_name_only"),
    ),
    Fault(
        "a row shows the first frame, not the measured one",
        "etab/features/frames.py",
        "[([int(a.at or 0)], a.value)",
        "[([min(at.values(), default=0) + 1 if at else 0], a.value)",
        _of("test_lvh", "test_rows_are_shown_by_the_frame_that_was_measured"),
    ),
    Fault(
        "remarks are kept to themselves",
        "etab/datasets/integrity/check.py",
        "report.remarks.extend(source.remarks())",
        "None",
        _of("test_measured_sources", "test_check_finds_nothing_wrong_and_says_what_was_left_out"),
    ),
    Fault(
        "the scaffold overwrites",
        "etab/cli/scaffold.py",
        "    if existing:\n",
        "    if False:\n",
        _scaffold("test_nothing_is_overwritten"),
    ),
    Fault(
        "the scaffold's test is stale",
        "etab/cli/scaffold.py",
        'assert (record.patient, record.view, record.split) == ("p2",',
        'assert (record.patient, record.view, record.split) == ("p3",',
        _scaffold("test_what_the_command_writes_passes_its_test"),
    ),
]
