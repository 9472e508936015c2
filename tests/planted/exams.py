"""Faults of EchoRisk (source, tasks, scores), MIMIC-IV-ECHO and EchoXFlow."""

from tests.faults import Fault

RISK = "etab/datasets/echorisk.py"
OBJECTS = "etab/datasets/objects.py"
SCORES = "etab/metrics/echorisk.py"
ENTRIES = "etab/challenges/echorisk.py"
MIMIC = "etab/datasets/mimic_echo.py"
TABLES = "etab/datasets/mimic_tables.py"
FLOW = "etab/datasets/echoxflow.py"
CATALOGUE = "etab/datasets/echoxflow_tables.py"
BEAMS = "etab/echo/beamspace.py"


def _risk(test: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_echorisk.py::{test}",)


def _mimic(test: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_mimic_echo.py::{test}",)


def _flow(test: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_echoxflow.py::{test}",)


def _scored(test: str) -> tuple[str, ...]:
    return (f"tests/challenges/test_echorisk.py::{test}",)


FAULTS = [
    Fault(
        "cardiotoxicity of a later examination is predicted",
        RISK,
        'if target.name == "cardiotoxicity" and record.meta["timepoint"] != TIMES[0]:',
        "if False:",
        _risk("test_what_the_manifests_say"),
    ),
    Fault(
        "an examination is listed twice",
        RISK,
        "            if exam in exams:\n",
        "            if False:\n",
        _risk("test_a_faulty_manifest_is_named"),
    ),
    Fault(
        "a patient of EchoRisk in two parts passes",
        RISK,
        "            check_leaks(listed)\n",
        "",
        _risk("test_a_faulty_manifest_is_named"),
    ),
    Fault(
        "a cine of two examinations passes",
        RISK,
        "        check_once(table, exams_of_video)\n",
        "",
        _risk("test_a_faulty_manifest_is_named"),
    ),
    Fault(
        "a table of objects leads out of its folder",
        OBJECTS,
        'or ".." in path.parts or',
        "or",
        _risk("test_a_faulty_manifest_is_named"),
    ),
    Fault(
        "a probability stands for a label",
        RISK,
        "        if value not in (0, 1):\n",
        "        if False:\n",
        _risk("test_labels_are_whole_numbers"),
    ),
    Fault(
        "an absent view is a recording",
        RISK,
        "                if row[column]\n",
        "",
        _risk("test_what_the_manifests_say"),
    ),
    Fault(
        "examinations are scored by cine",
        "etab/features/clips.py",
        'str(r.meta.get("study", r.id))',
        "r.id",
        _risk("test_runs_score_examinations"),
    ),
    Fault(
        "every point of the curve is an operating point",
        SCORES,
        "counts[_corners(false_positives, true_positives)] / counts[-1]",
        "counts / counts[-1]",
        _scored("test_scores_are_those_of_the_official_scorer"),
    ),
    Fault(
        "equal probabilities are ranked",
        SCORES,
        "np.flatnonzero(np.diff(scores))",
        "np.arange(len(scores) - 1)",
        _scored("test_scores_are_those_of_scikit_learn"),
    ),
    Fault(
        "a probability of one half is negative",
        SCORES,
        "chosen = predicted >= THRESHOLD",
        "chosen = predicted > THRESHOLD",
        _scored("test_scores_are_those_of_the_official_scorer"),
    ),
    Fault(
        "the correlation of a constant is a number",
        SCORES,
        "if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(predicted) == 0:",
        "if False:",
        _scored("test_scores_are_those_of_the_official_scorer"),
    ),
    Fault(
        "examinations without a prediction are dropped",
        ENTRIES,
        '    _refuse(predictions, "without a prediction", absent, EntryError)\n',
        "    cells_of_truth = {exam: cells_of_truth[exam] for exam in counted}\n",
        _scored("test_entries_that_are_refused"),
    ),
    Fault(
        "predictions out of range count",
        ENTRIES,
        "is_right = value is not None and 0 <= value <= task.highest",
        "is_right = value is not None",
        _scored("test_entries_that_are_refused"),
    ),
    Fault(
        "a study that lacks files is read",
        MIMIC,
        "            for path in absent:\n",
        "            for path in ():\n",
        _mimic("test_studies_are_there_whole_or_not_at_all"),
    ),
    Fault(
        "a part of the release is refused",
        MIMIC,
        "            if len(absent) == len(items):\n",
        "            if False:\n",
        _mimic("test_what_the_tables_say"),
    ),
    Fault(
        "subjects are split by their order",
        MIMIC,
        'f"{_SALT} {subject}"',
        'f"{subject}"',
        _mimic("test_the_parts_are_those_of_the_rule"),
    ),
    Fault(
        "Doppler is a picture of its view",
        MIMIC,
        '    if not words or any("doppler" in part for part in words):\n',
        "    if not words:\n",
        ("tests/test_examples.py", "-k", "mimic_echo"),
    ),
    Fault(
        "two subjects share a study",
        TABLES,
        "        if subject_of_study.setdefault(study, subject) != subject:\n",
        "        if False:\n",
        _mimic("test_a_study_of_two_subjects_is_named"),
    ),
    Fault(
        "results that contradict each other count",
        TABLES,
        "        if len(numbers) > 1:\n",
        "        if False:\n",
        _mimic("test_what_the_tables_say"),
    ),
    Fault(
        "an ejection fraction of another patient is taken",
        TABLES,
        "        if subject != patient:\n",
        "        if False:\n",
        _mimic("test_a_faulty_table_is_named"),
    ),
    Fault(
        "another measurement is the ejection fraction",
        TABLES,
        ' or row["measurement"].lower() != _EJECTION',
        "",
        _mimic("test_what_the_tables_say"),
    ),
    Fault(
        "a lost chunk reads as black",
        "etab/readers/zarr_store.py",
        "if sha256 and hashlib.sha256(values.tobytes()).hexdigest() != sha256.lower():",
        "if False:",
        _flow("test_a_lost_or_altered_chunk_is_named"),
    ),
    Fault(
        "the digest of another recording is compared",
        FLOW,
        'store.array(name, catalogue.digests.get(key, ""))',
        "store.array(name)",
        _flow("test_a_lost_or_altered_chunk_is_named"),
    ),
    Fault(
        "a contour between two frames belongs to one",
        FLOW,
        "        if distance > tolerance or not np.isfinite(distance):\n",
        "        if not np.isfinite(distance):\n",
        _flow("test_contours_belong_to_the_nearest_frame"),
    ),
    Fault(
        "the later of two contours wins",
        FLOW,
        "        if number not in best or distance < best[number][0]:\n",
        "        if True:\n",
        _flow("test_contours_belong_to_the_nearest_frame"),
    ),
    Fault(
        "the cavity is part of the wall",
        FLOW,
        "return polygon_mask(wall, shape) & ~inner",
        "return polygon_mask(pixels[:, -1], shape)",
        _flow("test_what_the_release_says"),
    ),
    Fault(
        "a recording of another examination is outlined",
        FLOW,
        "if source is None or source.exam != item.exam:",
        "if source is None:",
        _flow("test_a_faulty_catalogue_is_named"),
    ),
    Fault(
        "a recording is listed twice",
        CATALOGUE,
        "        if item.name in recordings:\n",
        "        if False:\n",
        _flow("test_a_faulty_catalogue_is_named"),
    ),
    Fault(
        "an examination is in two folds",
        CATALOGUE,
        "        if folds.setdefault(exam, fold) != fold:\n",
        "        if False:\n",
        _flow("test_the_five_folds_are_a_protocol"),
    ),
    Fault(
        "angles are read from the right",
        BEAMS,
        "from_column = (angle - first_angle)",
        "from_column = (last_angle - angle)",
        _flow("test_points_lie_on_what_they_outline"),
    ),
    Fault(
        "the picture begins at the probe",
        BEAMS,
        "y = (points[:, 1] - top) / (bottom - top)",
        "y = points[:, 1] / (bottom - top)",
        _flow("test_points_lie_on_what_they_outline"),
    ),
    Fault(
        "a numbered fold is trained on, and others are tested",
        "etab/tasks/lists.py",
        '        folds.append(_fold(f"fold{name}", {"train": train, "test": test}))\n',
        '        folds.append(_fold(f"fold{name}", {"train": test, "test": train}))\n',
        _flow("test_the_five_folds_are_a_protocol"),
    ),
    Fault(
        "EchoRisk: the first threshold may lie in the middle of two equal steps",
        "etab/metrics/echorisk.py",
        "    return np.concatenate([[True, True], bends, [True]])",
        "    return np.concatenate([[True, bends[0]], bends, [True]])",
        (
            "tests/challenges/test_echorisk.py::test_equal_steps_of_the_curve_are_those_of_scikit_learn",
        ),
    ),
]
