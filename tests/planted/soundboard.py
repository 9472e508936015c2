"""Faults of the heart-sound board: who is trained on, thresholds, rows, aggregation, scores, what is said."""

from tests.faults import Fault

TASKS, PROTOCOLS = "tests/tasks/test_sound_tasks.py", "tests/tasks/test_sound_protocols.py"
ROWS, DECIDE, SPLITS, SCORES, RULES = (
    "etab/features/rows_sound.py",
    "etab/tasks/thresholds.py",
    "etab/splits.py",
    "etab/metrics/heart_sounds.py",
    "etab/tasks/aggregate.py",
)


def _fault(name: str, file: str, old: str, new: str, test: str) -> Fault:
    return Fault(f"soundboard: {name}", file, old, new, (test,))


BALANCED = "etab/heads/pooled/balanced.py"
DECISIONS = "tests/runs/test_decisions.py"

FAULTS = [
    _fault(
        "a rule is valued by the rows that it answers otherwise",
        DECIDE,
        "totals += of_answer.values.T @ (answers == answer)",
        "totals += of_answer.values.T @ (answers != answer)",
        f"{DECISIONS}::test_rules_are_valued_together_as_each_alone",
    ),
    _fault(
        "numbers that depend on the answers to other rows are added up",
        DECIDE,
        "if not np.array_equal(of_answer.values[chosen], form.values[chosen]):",
        "if False:",
        f"{DECISIONS}::test_a_metric_whose_rows_know_other_answers_is_valued_rule_by_rule",
    ),
    _fault(
        "the murmur of the patient at every place",
        "etab/datasets/circor.py",
        'int(record.view in record.meta["murmur_locations"])',
        'int(murmur == "Present")',
        f"{TASKS}::test_the_murmur_of_a_place_is_a_task_beside_the_boards",
    ),
    _fault(
        "databases weigh by their recordings in a balanced fit",
        BALANCED,
        "            rows = of_class & (groups == group)\n",
        "            rows = of_class\n",
        "tests/heads/test_balanced.py::test_a_left_out_database_is_not_taken_for_its_marker",
    ),
    _fault(
        "a column counts by the widest one",
        BALANCED,
        "spread > _STILL * np.maximum(np.abs(level), 1e-6)",
        "spread > _STILL * spread.max()",
        "tests/heads/test_balanced.py::test_a_left_out_database_is_not_taken_for_its_marker",
    ),
    _fault(
        "the head is not told the databases",
        "etab/runs/cell.py",
        "memo.groups = np.array(rows.groups) if rows.groups else None",
        "memo.groups = np.array(rows.items)",
        f"{DECISIONS}::test_a_run_tells_the_head_the_databases",
    ),
    _fault(
        "shares of the test rows decide",
        DECIDE,
        "        rows = np.sort(split.train)\n",
        "        rows = np.sort(np.concatenate([split.train, split.test]))\n",
        f"{DECISIONS}::test_the_threshold_is_the_share_in_training",
    ),
    _fault(
        "the option decide is ignored",
        "etab/runs/cell.py",
        'if self.run.decide == "balanced":',
        "if False:",
        f"{DECISIONS}::test_the_option_acts_and_is_recorded",
    ),
    _fault(
        "the same person in two folds",
        "etab/features/windows.py",
        "patients=np.array([r.patient for r in records])",
        'patients=np.array([r.meta.get("id", r.patient) for r in records])',
        f"{PROTOCOLS}::test_two_ids_of_one_person_share_a_fold",
    ),
    _fault(
        "recordings are folded, not patients",
        "etab/features/windows.py",
        "patients=np.array([r.patient for r in records])",
        "patients=np.array([r.id for r in records])",
        f"{PROTOCOLS}::test_two_ids_of_one_person_share_a_fold",
    ),
    _fault(
        "validation copies in training",
        "etab/datasets/cinc2016.py",
        "for name, row in copies.items() if name not in rows}",
        'for name, row in copies.items()} | {n + "v": r for n, r in rows.items() if n in copies}',
        f"{PROTOCOLS}::test_no_sound_is_in_training_and_test",
    ),
    _fault(
        "a threshold picked on test",
        DECIDE,
        "parts = [np.sort(part) for part in split.inner]",
        "parts, mine, inner, scores = [split.test], [0], [split], answers([split])",
        f"{PROTOCOLS}::test_a_threshold_never_sees_its_test_rows",
    ),
    _fault(
        "a threshold picked on rows that were fitted",
        "etab/splits.py",
        "train = without(split.train, part)",
        "train = split.train",
        f"{PROTOCOLS}::test_inner_fits_answer_rows_they_never_saw",
    ),
    _fault(
        "the database left out is trained on",
        SPLITS,
        "train = np.sort(np.concatenate(inner))",
        "train = np.arange(len(groups))",
        f"{PROTOCOLS}::test_lodo_leaves_one_database_out",
    ),
    _fault(
        "databases that share patients pass",
        SPLITS,
        "    _check_pairs(zip(patients.tolist(), map(str, groups.tolist()), strict=True))\n",
        "",
        f"{PROTOCOLS}::test_lodo_needs_databases_that_share_nobody",
    ),
    _fault(
        "unknown patients are not said in the result",
        "etab/runs/cell.py",
        "*source.notes(),\n",
        "\n",
        f"{PROTOCOLS}::test_without_the_appendix_results_say_so",
    ),
    _fault(
        "shared databases are not said",
        "etab/tasks/protocol_rows.py",
        'parse(name).sort == "cv" and len',
        "False and len",
        f"{PROTOCOLS}::test_without_the_appendix_results_say_so",
    ),
    _fault(
        "the end of a recording is not heard",
        "etab/features/windows.py",
        "rest >= WINDOW / 2",
        "False",
        f"{TASKS}::test_windows_cover_a_recording",
    ),
    _fault(
        "the last window is left out of the mean",
        "etab/features/windows.py",
        "values[a : b + 1]",
        "values[a : max(b, a + 1)]",
        f"{TASKS}::test_features_of_a_recording_are_the_mean_of_its_windows",
    ),
    _fault(
        "a patient is a person when scored",
        "etab/features/windows.py",
        'str(r.meta.get("id", r.patient))',
        "r.patient",
        f"{TASKS}::test_rows_are_recordings_or_windows",
    ),
    _fault(
        "any present is the mean",
        RULES,
        "graver = np.cumsum(scores, axis=1).max(axis=0)",
        "graver = np.cumsum(scores, axis=1).mean(axis=0)",
        f"{TASKS}::test_the_gravest_recording_decides",
    ),
    _fault(
        "places count by their recordings",
        RULES,
        "_means(_means(scores, recordings), places[first])",
        "_means(scores, recordings)",
        f"{TASKS}::test_places_count_alike_however_often_they_were_heard",
    ),
    _fault(
        "the aggregation asked for is ignored",
        "etab/runs/run.py",
        "if self.aggregate is None:",
        "if True:",
        f"{TASKS}::test_another_aggregation_acts_and_is_recorded",
    ),
    _fault(
        "the aggregation is no part of the identity",
        "etab/features/windows.py",
        '            "aggregate": task.aggregate,\n',
        "",
        f"{TASKS}::test_another_aggregation_acts_and_is_recorded",
    ),
    _fault(
        "echo tables gain metrics",
        "etab/metrics/base.py",
        "absent = sorted(self.needs.difference(rows.columns))",
        "absent = []\n        columns = {'answer': rows['truth'], **rows.columns}\n"
        "        rows = ScoredRows(rows.kind, columns, rows.patients, rows.folds, rows.repeats)",
        f"{TASKS}::test_metrics_of_sounds_leave_echo_alone",
    ),
    _fault(
        "Unknown weighs as Absent",
        SCORES,
        "(5.0, 3.0, 1.0)",
        "(5.0, 1.0, 1.0)",
        f"{TASKS}::test_challenge_2022_is_the_official_score",
    ),
    _fault(
        "Unknown is not referred",
        SCORES,
        'rows["answer"] != _REFERRED_BUT',
        'rows["answer"] == 0',
        f"{TASKS}::test_challenge_2022_is_the_official_score",
    ),
    _fault(
        "a large database counts more",
        SCORES,
        'for name in np.unique(rows["group"]):',
        "for name in [0]:",
        f"{TASKS}::test_databases_count_alike",
    ),
    _fault(
        "f0 counts by pooled folds",
        "etab/leaderboard/comparable.py",
        "suite.protocols.get(result.task, protocol)",
        "protocol",
        f"{TASKS}::test_the_board_takes_f0_by_lodo_and_says_so",
    ),
    _fault(
        "notes of results are not on the board",
        "etab/leaderboard/notes.py",
        'cell.settings.get("notes", [])',
        "()",
        f"{TASKS}::test_the_board_takes_f0_by_lodo_and_says_so",
    ),
]
