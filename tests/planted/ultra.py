"""Faults of EchoNet-LVH, EchoNet-Pediatric, Unity Imaging and the scaffold."""

from tests.faults import Fault

ULTRA = ("tests/test_ultra.py",)
SCAFFOLD = ("tests/test_scaffold.py",)
LVH, PEDIATRIC, UNITY = (f"etab/datasets/{name}.py" for name in ("lvh", "pediatric", "unity"))

FAULTS = [
    Fault(
        "X1, Y1, X2, Y2 read in the order of other tables",
        LVH,
        'for axis in "XY"] for end in (1, 2)',
        'for axis in (1, 2)] for end in "XY"',
        ULTRA,
    ),
    Fault(
        "the points of another measurement",
        LVH,
        '("IVSd", "LVIDd", "LVPWd").index',
        '("LVIDd", "IVSd", "LVPWd").index',
        ULTRA,
    ),
    Fault("cm handed out as mm", LVH, "Answer(m.value, m.at)", "Answer(10 * m.value, m.at)", ULTRA),
    Fault("the rate of a shifted row", LVH, "return rate if whole and", "return rate if", ULTRA),
    Fault(
        "points outside stay",
        LVH,
        "np.where(outside.any(axis=1, keepdims=True), np.nan, measure.points)",
        "measure.points",
        ULTRA,
    ),
    Fault(
        "a measurement written twice counts twice",
        LVH,
        "found.setdefault((measure.calc, measure.at), measure)",
        "found[measure.calc, len(found)] = measure",
        ULTRA,
    ),
    Fault(
        "a measured frame beyond the end passes",
        LVH,
        "if found and found[-1].at >=",
        "if False and found[-1].at >=",
        ULTRA,
    ),
    Fault("a measured video in two splits passes", LVH, "check_leaks(Record(", "list(Record(", ULTRA),
    Fault("a video that no batch holds is left out", LVH, "        if absent:\n", "        if False:\n", ULTRA),
    Fault("ED and ES of LVH swapped", LVH, "enumerate((DIASTOLE, SYSTOLE))", "enumerate((SYSTOLE, DIASTOLE))", ULTRA),
    Fault("fold 0 is for training", PEDIATRIC, '{0: "test", 1: "val"}', '{9: "test", 1: "val"}', ULTRA),
    Fault("every study is a patient", PEDIATRIC, 'patient = name.split("-")[0]', "patient = name", ULTRA),
    Fault("a child in two folds passes", PEDIATRIC, "            check_leaks(found)\n", "", ULTRA),
    Fault(
        "polygon vertices sorted",
        PEDIATRIC,
        "filled(points[:, 0], points[:, 1],",
        "filled(np.sort(points[:, 0]), points[:, 1],",
        ULTRA,
    ),
    Fault("frames counted from 1", PEDIATRIC, "[int(frame)].append", "[int(frame) - 1].append", ULTRA),
    Fault(
        "a trace beyond the end is an answer",
        PEDIATRIC,
        "for at in sorted(found) if at < n",
        "for at in sorted(found)",
        ULTRA,
    ),
    Fault("a trace of nothing is a mask", PEDIATRIC, "if not mask.any():", "if False:", ULTRA),
    Fault(
        "the smaller cavity is ED",
        "etab/datasets/traced.py",
        "Answer(late, first[0]), Answer(1 - late, last[0])",
        "Answer(1 - late, first[0]), Answer(late, last[0])",
        ULTRA,
    ),
    Fault("x and y of a point swapped", UNITY, "out[row] = x, y", "out[row] = y, x", ULTRA),
    Fault(
        "tuning pictures are tested on", UNITY, '"tune": "val", "ival": "test"', '"tune": "test", "ival": "val"', ULTRA
    ),
    Fault(
        "an off structure is a point",
        UNITY,
        'or label.get("type") != "point"',
        'or label.get("type") == "curve"',
        ULTRA,
    ),
    Fault("points outside a picture stay", UNITY, "points = np.where(outside, np.nan, points)", "", ULTRA),
    Fault("a picture in two parts passes", UNITY, "if home.setdefault(name, part) != part:", "if False:", ULTRA),
    Fault("a DICOM file in two parts passes", UNITY, "            check_leaks(found)\n", "", ULTRA),
    Fault("labelled pictures may be missing", UNITY, "            self._check_there(found)\n", "", ULTRA),
    Fault("cm of a pixel taken for mm", UNITY, "(10 * y, 10 * x)", "(y, x)", ULTRA),
    Fault(
        "keypoints stay where they were",
        "etab/datasets/dataset.py",
        "(points + 0.5) * scale - 0.5 + shift",
        "points * 1.0",
        ULTRA,
    ),
    Fault(
        "keypoints ignore the padding", "etab/datasets/dataset.py", "* scale - 0.5 + shift)", "* scale - 0.5)", ULTRA
    ),
    Fault(
        "tasks of version 0 run unasked",
        "etab/tasks.py",
        "ready = [t for t in current if t.version > 0]",
        "ready = current",
        ULTRA,
    ),
    Fault(
        "a row shows the first frame, not the measured one",
        "etab/rows.py",
        "[([int(a.at or 0)], a.value)",
        "[([min(at.values(), default=0) + 1 if at else 0], a.value)",
        ULTRA,
    ),
    Fault(
        "remarks are kept to themselves",
        "etab/datasets/check.py",
        "report.remarks.extend(source.remarks())",
        "None",
        ULTRA,
    ),
    Fault("the scaffold overwrites", "etab/scaffold.py", "    if taken:\n", "    if False:\n", SCAFFOLD),
    Fault(
        "the scaffold's test is stale",
        "etab/scaffold.py",
        'assert (record.patient, record.view, record.split) == ("p2",',
        'assert (record.patient, record.view, record.split) == ("p3",',
        SCAFFOLD,
    ),
]
