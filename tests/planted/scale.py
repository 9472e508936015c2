"""Faults of going on without bad recordings, of probes on many rows, and of studies."""

from tests.faults import Fault

_FILE = "tests/test_skip_bad.py"
ONE, WHOLE = (f"{_FILE}::test_one_view_lost",), (f"{_FILE}::test_a_whole_patient_lost",)
COUNTS, ALL = (f"{_FILE}::test_an_official_result_counts_its_test_part",), (f"{_FILE}::test_all_bad",)
LARGE, STUDIES = ("tests/test_large.py",), ("tests/test_studies.py",)

FAULTS = [
    Fault(
        "skip-bad: nothing in the result",
        "etab/sieve.py",
        "    if not faults:\n        return {}",
        "    if True:\n        return {}",
        COUNTS,
    ),
    Fault(
        "skip-bad: masks are not looked at",
        "etab/sieve.py",
        "            record_rows(task, source, record)",
        "            pass",
        ONE,
    ),
    Fault(
        "skip-bad: pictures are not looked at",
        "etab/sieve.py",
        "    for at in shown_frames(source, record):",
        "    for at in ():",
        ONE,
    ),
    Fault(
        "skip-bad: a folder in the place of a file passes",
        "etab/sieve.py",
        "if (source.root / name).is_dir():",
        "if False:",
        (f"{_FILE}::test_one_view_lost[a folder in place of what is not read]",),
    ),
    Fault("skip-bad: all bad is an empty run", "etab/sieve.py", "    if not source.records():", "    if False:", ALL),
    Fault(
        "skip-bad: patients of training count as lost",
        "etab/sieve.py",
        '(not official or f.split in ("", "test"))',
        "True",
        COUNTS,
    ),
    Fault("skip-bad: another view counts as lost", "etab/sieve.py", 'f.view in ("", *task.views)', "True", COUNTS),
    Fault(
        "skip-bad: missing files are listed",
        "etab/datasets/base.py",
        "[record for record in found if record.id not in lost]",
        "found",
        ONE,
    ),
    Fault(
        "skip-bad: an absent patient is silent",
        "etab/datasets/camus_layout.py",
        "            absent(name, listed[name])",
        "            continue",
        WHOLE,
    ),
    Fault(
        "skip-bad: on without being asked",
        "etab/api.py",
        "    skip_bad: bool = False,\n",
        "    skip_bad: bool = True,\n",
        (f"{_FILE}::test_from_python",),
    ),
    Fault(
        "skip-bad: errors do not name it",
        "etab/errors.py",
        'raise type(error)(f"{error} {SKIP}") from error',
        "raise",
        ONE,
    ),
    Fault(
        "skip-bad: a missing file is a full disk",
        "etab/features.py",
        "if isinstance(error, EtabError) or temp is None:",
        "if isinstance(error, CorruptFileError) or temp is None:",
        ONE,
    ),
    Fault(
        "skip-bad: the board is silent",
        "etab/leaderboard.py",
        "notes = [*incomplete([cell for r in rows for cell in r.cells.values()]), *notes]",
        "pass",
        (f"{_FILE}::test_the_board_says_what_is_missing_everywhere",),
    ),
    Fault(
        "skip-bad: a whole result says so too",
        "etab/results.py",
        'if k != "bad" or v}',
        "}",
        (f"{_FILE}::test_nothing_bad_is_the_same_result",),
    ),
    Fault("large: kernels of any size", "etab/heads/large.py", "return len(x) > LIMIT and", "return False and", LARGE),
    Fault("large: moments where features are wider", "etab/heads/large.py", " and x.shape[1] < len(x)", "", LARGE),
    Fault(
        "large: centred by all rows",
        "etab/heads/large.py",
        "            mean = found.first / found.n\n            scatter",
        "            mean = 0 * found.first\n            scatter",
        LARGE,
    ),
    Fault(
        "large: a cut part counts whole",
        "etab/heads/large.py",
        "if int(np.isin(self.parts, mine).sum()) != len(rows):",
        "if False:",
        LARGE,
    ),
    Fault(
        "large: neighbours in no order",
        "etab/heads/large.py",
        "np.take_along_axis(some, order, axis=1))",
        "some)",
        LARGE,
    ),
    Fault(
        "large: neighbours not centred",
        "etab/heads/large.py",
        "if axes.size else x - mean",
        "if axes.size else x",
        LARGE,
    ),
    Fault(
        "large: features in memory", "etab/features.py", "    if path.stat().st_size <= above:", "    if True:", LARGE
    ),
    Fault(
        "studies: thresholds chosen on the test part",
        "etab/studies.py",
        "        some = keys[inner.rows].tolist()",
        "        inner = _Images(split.test, _two(view.predictions), _two(own.predictions))\n"
        "        some = keys[inner.rows].tolist()",
        STUDIES,
    ),
    Fault(
        "studies: inner probes see their part",
        "etab/studies.py",
        "train = np.setdiff1d(split.train, part)",
        "train = split.train",
        STUDIES,
    ),
    Fault(
        "studies: the upstream variant counts all",
        "etab/studies.py",
        'kept = columns["used"] > 0',
        'kept = columns["used"] >= 0',
        STUDIES,
    ),
    Fault(
        "studies: ready before they are measured",
        "etab/tasks.py",
        'version=0, unit="study"',
        'version=1, unit="study"',
        STUDIES,
    ),
    Fault(
        "studies: a patient is a study",
        "etab/rows.py",
        '"study": tuple(str(r.meta.get("study", r.id))',
        '"study": tuple(str(r.patient)',
        STUDIES,
    ),
    Fault(
        "large: points of maps in memory",
        "etab/spill.py",
        "        if size > budget:",
        "        if False:",
        ("tests/test_spill.py::test_memory_does_not_grow_with_the_points",),
    ),
    Fault(
        "large: rows of maps read at once",
        "etab/rows.py",
        "    return PickedMap(whole, np.arange(len(whole))[rows])",
        "    return whole[np.arange(len(whole))[rows]]",
        ("tests/test_spill.py::test_rows_of_maps_are_read_when_they_are_asked_for",),
    ),
    Fault(
        "large: blocks on disk one row late",
        "etab/spill.py",
        "self._file.seek(start * self",
        "self._file.seek(max(start - 1, 0) * self",
        ("tests/test_spill.py::test_points_on_disk_give_the_very_same_answers",),
    ),
    Fault(
        "large: maps without a cache in memory",
        "etab/features.py",
        "Spill(shape, budget=_HELD)",
        "Spill(shape, budget=1 << 60)",
        ("tests/test_spill.py::test_maps_that_no_cache_keeps_are_bounded_too",),
    ),
    Fault(
        "views: the last class counts upstream",
        "etab/diagnosis.py",
        "recalls(truth, answers, n_classes)[:-1]",
        "recalls(truth, answers, n_classes)",
        ("tests/test_tmed.py::test_every_task_runs_and_is_learned",),
    ),
]
