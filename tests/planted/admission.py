"""Faults of the admission of results to a board."""

from tests.faults import Fault

_FILE = "tests/leaderboard/admission/test_hostile.py"


def _refused(forgery: str) -> tuple[str, ...]:
    return (f"{_FILE}::test_forged_results_are_refused[{forgery}]",)


def _marked(forgery: str) -> tuple[str, ...]:
    return (f"{_FILE}::test_remarkable_results_are_marked[{forgery}]",)


CROWD = (f"{_FILE}::test_a_crowd_of_strangers_does_not_outvote_a_known_release",)
KINDS = "tests/leaderboard/admission/test_kinds.py"
SUBMISSION = ("tests/leaderboard/admission/test_submission.py",)
REPRODUCE = ("tests/runs/test_reproduce.py",)
DECIDED = ("tests/leaderboard/admission/test_decided.py",)
FILES = "etab/leaderboard/admission/files.py"
RECORD = "etab/leaderboard/admission/record.py"
RANGES = "etab/leaderboard/admission/ranges.py"
CANONICAL = "etab/leaderboard/admission/canonical.py"
ADMIT = "etab/leaderboard/admission/admit.py"
PLAUSIBLE = "etab/leaderboard/admission/plausibility.py"
ENTRIES = "etab/leaderboard/admission/entries.py"
COMBINED = "etab/leaderboard/admission/combined.py"
SUBMIT = "etab/leaderboard/admission/submission.py"
AGAIN = "etab/runs/reproduce.py"
REPEATED = ("tests/leaderboard/admission/test_repeated_copies.py",)

ROWS = ("tests/leaderboard/admission/test_contradicting_rows.py",)


def _kind(name: str) -> tuple[str, ...]:
    return (f"{KINDS}::test_each_kind_is_refused_with_its_reason[{name}]",)


FAULTS = [
    Fault(
        "distances are not compared with the overlap",
        RANGES,
        "        or _distances_of_other_masks(table)\n",
        "",
        ROWS,
    ),
    Fault(
        "f1 is not compared with its sensitivity and predictive value",
        RANGES,
        "return _detections(table) or _timing(table)",
        "return _timing(table)",
        ROWS,
    ),
    Fault(
        "timing is not compared with the sounds found",
        RANGES,
        "return _detections(table) or _timing(table)",
        "return _detections(table)",
        ROWS,
    ),
    Fault(
        "rows under other folds are not compared with the release",
        CANONICAL,
        "is_canonical = known is None or known == facts_digest(table)",
        "is_canonical = True",
        ROWS,
    ),
    Fault(
        "another seed hides the authors' parts",
        CANONICAL,
        'seed = 0 if protocol in ("official", "lodo") else result.seed',
        "seed = result.seed",
        ROWS,
    ),
    Fault(
        "masks of a published backbone stand unmarked",
        PLAUSIBLE,
        "    if owner and owner != result.backbone:",
        "    if False:",
        ROWS,
    ),
    Fault(
        "names of strangers that look alike stand unmarked",
        PLAUSIBLE,
        "        if alike and not entry.result.phantom:",
        "        if False:",
        ROWS,
    ),
    Fault(
        "two letters do not pass for one in names",
        CANONICAL,
        "    for letters, letter in _SEEN_AS_ONE:",
        "    for letters, letter in ():",
        ROWS,
    ),
    Fault(
        "a submission alone may state any training",
        SUBMIT,
        "for cell, reason in unlike_published(entries)",
        "for cell, reason in ()",
        ROWS,
    ),
    Fault(
        "numbers that only Python reads are read",
        "etab/results/predictions.py",
        "            if not _NUMBER.fullmatch(text.lower() if text.isascii() else text):",
        "            if not text:",
        _kind("an underscore in a number"),
    ),
    Fault(
        "repeats that only Python reads are read",
        "etab/results/predictions.py",
        "        if not _REPEAT.fullmatch(text):",
        "        if False:",
        _kind("a repeat with an underscore"),
    ),
    Fault(
        "the digest of an empty file is one of weights",
        RECORD,
        "    if result.weights_sha256 in others:",
        "    if False:",
        _kind("the digest of an empty file"),
    ),
    Fault(
        "a note of one result is told as one of the board",
        "etab/leaderboard/notes.py",
        'whose = "" if of_all else',
        'whose = "" if True else',
        ("tests/leaderboard/test_notes.py::test_a_note_of_some_results_says_whose_it_is",),
    ),
    Fault(
        "a submission is not compared with published results",
        "etab/leaderboard/admission/published.py",
        "both = {**_published_entries(entries), **entries}",
        "both = {**entries}",
        (f"{REPEATED[0]}::test_a_submission_alone_is_compared_with_the_published_results[a copy]",),
    ),
    Fault(
        "the truth beside published predictions stands unmarked",
        COMBINED,
        'words["a mixture of published ones and the truth"] = _basis([*parts, truth])',
        "pass",
        REPEATED,
    ),
    Fault(
        "predictions for other rows stand unmarked",
        PLAUSIBLE,
        "for i, j in _in_another_order(ordered.values):",
        "for i, j in ():",
        REPEATED,
    ),
    Fault(
        "a decision beside values is read",
        "etab/leaderboard/admission/ranges.py",
        "    if table.kind in (Kind.BINARY, Kind.CLASSES):\n        allowed",
        "    if True:\n        allowed",
        _refused("a decision beside values"),
    ),
    Fault(
        "a link to a folder is missing without a word",
        "etab/leaderboard/admission/files.py",
        'if (name.endswith(".json") or name in links) and',
        'if name.endswith(".json") and',
        _refused("a link to a folder"),
    ),
    Fault(
        "digits pass for letters in names",
        "etab/leaderboard/admission/canonical.py",
        '_LOOK_ALIKE = str.maketrans("0158", "olsb", "._-+:@/")',
        "_LOOK_ALIKE: dict[int, int] = {}",
        _refused("a published name with a digit for a letter"),
    ),
    Fault(
        "dashes and underscores tell names apart",
        "etab/leaderboard/admission/canonical.py",
        '_LOOK_ALIKE = str.maketrans("0158", "olsb", "._-+:@/")',
        '_LOOK_ALIKE = str.maketrans("0158", "olsb")',
        _refused("a published name with a dash"),
    ),
    Fault(
        "the twin of a twin stands",
        "etab/leaderboard/admission/admit.py",
        'is_nobody = base not in names or base.startswith("random/")',
        "is_nobody = base not in names",
        _refused("the twin of a twin"),
    ),
    Fault(
        "any factors decide",
        "etab/leaderboard/admission/record.py",
        "or not all(is_number(factor) for factor in factors):",
        "or False:",
        DECIDED,
    ),
    Fault(
        "any threshold decides",
        "etab/leaderboard/admission/record.py",
        "if table.kind is Kind.BINARY and is_number(threshold):",
        "if table.kind is Kind.BINARY and threshold is not None:",
        DECIDED,
    ),
    Fault(
        "a link is followed",
        FILES,
        "if stat.S_ISLNK(status.st_mode):",
        "if False:",
        _refused("a link to a record"),
    ),
    Fault(
        "a name that steers a terminal",
        "etab/results/names.py",
        "if not NAME.fullmatch(name):",
        "if not name:",
        _refused("an escape sequence in the name"),
    ),
    Fault(
        "a name that climbs",
        "etab/results/names.py",
        'in ("", ".", "..")',
        'in ("",)',
        _refused("a name that climbs"),
    ),
    Fault(
        "a record of any size is read",
        FILES,
        "status.st_size > largest",
        "False",
        _refused("a record of five megabytes"),
    ),
    Fault(
        "two tables lie beside a record",
        FILES,
        "if len(present) > 1:",
        "if False:",
        (f"{KINDS}::test_each_kind_is_refused_with_its_reason[two tables]",),
    ),
    Fault(
        "any name of a metric",
        RECORD,
        "if not _METRIC_NAME.fullmatch(name):",
        "if False:",
        (f"{KINDS}::test_each_kind_is_refused_with_its_reason[a metric with markup]",),
    ),
    Fault(
        "any name of an interval",
        RECORD,
        "if result.interval != OVER_PATIENTS:",
        "if False:",
        (f"{KINDS}::test_each_kind_is_refused_with_its_reason[an interval with markup]",),
    ),
    Fault(
        "predictions in another unit",
        PLAUSIBLE,
        "anchored < _OTHER_UNIT:",
        "False:",
        _marked("another unit"),
    ),
    Fault(
        "rows of another backbone among one's own",
        PLAUSIBLE,
        "            if share > COPIED_SHARE:",
        "            if share > 1:",
        _marked("rows of another backbone"),
    ),
    Fault(
        "constants of a fold count as copies",
        PLAUSIBLE,
        "return np.where(ordered.counts > 1, np.nan, vectors)",
        "return vectors",
        ("tests/leaderboard/admission/test_copies.py::test_the_constant_of_a_fold_is_no_copy",),
    ),
    Fault(
        "a copy on another scale",
        PLAUSIBLE,
        "return np.maximum(correlation, correlations(vectors))",
        "return correlation",
        _marked("a copy on another scale"),
    ),
    Fault("dice above 1", RANGES, '_outside("dice", dice, 0, 1) or ', "", _refused("dice is 5")),
    Fault(
        "jaccard of another mask",
        RANGES,
        "if different.any():",
        "if False:",
        _refused("dice that is not of its jaccard"),
    ),
    Fault(
        "probabilities that sum to anything",
        RANGES,
        "if uneven.any():",
        "if False:",
        _refused("probabilities that do not sum to 1"),
    ),
    Fault(
        "a column that nobody knows",
        RANGES,
        "if unknown:",
        "if False:",
        _refused("a column that nobody knows"),
    ),
    Fault(
        "a stated metric is believed",
        RECORD,
        "*_metrics(result, rows, task, values),",
        "",
        _refused("another metric is edited"),
    ),
    Fault(
        "stated folds are believed",
        RECORD,
        "*_folds(result, table, rows, values),",
        "",
        _refused("values of folds that do not follow"),
    ),
    Fault(
        "a stated level is believed",
        RECORD,
        "result.level != LEVEL",
        "False",
        _refused("an interval of another level"),
    ),
    Fault(
        "decisions are believed",
        RECORD,
        "*_decisions(result, table),",
        "",
        (f"{_FILE}::test_forged_sounds_are_refused[decisions are the truth]",),
    ),
    Fault(
        "counts are believed",
        RECORD,
        "*wrong_counts(result, table),",
        "",
        _refused("more patients than there are"),
    ),
    Fault(
        "any digest of the weights",
        RECORD,
        "if not _is_sha256(value):",
        "if False:",
        _refused("no digest of the weights anywhere"),
    ),
    Fault(
        "the submitter names the patients",
        CANONICAL,
        "columns: list[Sequence[str]] = [items, patients, folds]",
        "columns: list[Sequence[str]] = [items, items, folds]",
        _refused("the worst frames are one patient's"),
    ),
    Fault(
        "the submitter brings the truth",
        CANONICAL,
        "    for name in FACT_COLUMNS:",
        "    for name in ():",
        _refused("one truth is changed"),
    ),
    Fault(
        "left out recordings of complete data",
        CANONICAL,
        "if result.bad:",
        "if False:",
        _refused("left out recordings, complete data"),
    ),
    Fault(
        "strangers outvote a known release",
        ADMIT,
        "known or list(values.values())",
        "list(values.values())",
        CROWD,
    ),
    Fault(
        "one name for two networks",
        ADMIT,
        "_two_networks, ",
        "",
        _refused("other weights in one task"),
    ),
    Fault("a twin of nobody", ADMIT, ", _twins_of_nobody)", ",)", _refused("a twin of nobody")),
    Fault(
        "versions of a head are mixed",
        ADMIT,
        '"head_version", ',
        "",
        _refused("another version of the head"),
    ),
    Fault(
        "copies stand unmarked",
        PLAUSIBLE,
        "yield from _copies(code, of_task)",
        "pass",
        _marked("a copy with noise"),
    ),
    Fault(
        "the best of all stands unmarked",
        PLAUSIBLE,
        "yield from best_of_all(code, of_task)",
        "pass",
        _marked("the best of all, row by row"),
    ),
    Fault(
        "too good stands unmarked",
        PLAUSIBLE,
        "elif anchored > 1:",
        "elif False:",
        _marked("fitted to the test rows"),
    ),
    Fault("phantoms are published", SUBMIT, "if result.phantom:", "if False:", SUBMISSION),
    Fault("a path of a machine is published", SUBMIT, "_PATH.search(text)", "False", SUBMISSION),
    Fault("a missing task is accepted", SUBMIT, "and not self.missing", "", SUBMISSION),
    Fault(
        "a sample of masks is enough for anybody",
        SUBMIT,
        "if has_published_masks(result) else",
        "if result.masks else",
        SUBMISSION,
    ),
    Fault(
        "the masks of a published cell vouch for any name",
        CANONICAL,
        "return _published_masks().get(cell_key(result)) == digests",
        "return digests in _published_masks().values()",
        SUBMISSION,
    ),
    Fault(
        "any published backbone may leave out tasks",
        SUBMIT,
        "return known is not None and set(codes) <= set(known.lacks)",
        "return known is not None",
        SUBMISSION,
    ),
    Fault(
        "settings and notes of any type are shown",
        RECORD,
        "*wrong_statements(result, table),",
        "",
        (f"{KINDS}::test_each_kind_is_refused_with_its_reason[notes in a dictionary]",),
    ),
    Fault(
        "a table has two columns of one name",
        "etab/results/predictions.py",
        "        if twice:",
        "        if False:",
        (f"{KINDS}::test_each_kind_is_refused_with_its_reason[a column twice]",),
    ),
    Fault(
        "a published name in other letters",
        ADMIT,
        "    if taken:",
        "    if False:",
        _refused("a published name in other letters"),
    ),
    Fault(
        "a number that nobody can check is shown",
        "etab/leaderboard/page.py",
        "_six_digits_each(_known(cell.metrics))",
        "_six_digits_each(cell.metrics)",
        ("tests/leaderboard/test_notes.py::test_a_metric_that_nobody_can_check_is_not_shown",),
    ),
    Fault(
        "any difference counts as reproduced",
        AGAIN,
        "not self.same_machine and abs(self.difference) <= self.allowed",
        "True",
        REPRODUCE,
    ),
    Fault(
        "a digest alone reproduces a result",
        AGAIN,
        "        if self.others:\n            return False\n",
        "",
        REPRODUCE,
    ),
    Fault(
        "a record states how far it may be missed",
        AGAIN,
        "return _TOLERANCE * (self.computed.high - self.computed.low) / 2",
        "return _TOLERANCE * (self.stored.high - self.stored.low) / 2",
        REPRODUCE,
    ),
    Fault(
        "predictions may contradict the record that is computed again",
        AGAIN,
        "    if reasons:\n        raise ResultError(",
        "    if False:\n        raise ResultError(",
        REPRODUCE,
    ),
    Fault(
        "other versions reproduce a result",
        AGAIN,
        "        if before == now:",
        "        if True:",
        REPRODUCE,
    ),
    Fault("other data reproduce a result", AGAIN, "if before != now:", "if False:", REPRODUCE),
    Fault(
        "a record names a file as its list of folds",
        "etab/results/fields.py",
        "return not value.startswith(_LIST) or _LIST_KEY.fullmatch(value) is not None",
        "return True",
        (f"{REPRODUCE[0]}::test_a_file_that_a_record_names_as_a_list_is_not_opened",),
    ),
    Fault(
        "a result by a list is compared with the folds of another",
        AGAIN,
        'if wanted != key and not wanted.startswith(f"{key}-"):',
        "if False:",
        (f"{REPRODUCE[0]}::test_a_result_by_a_list_is_computed_again_from_the_named_file",),
    ),
    Fault(
        "copies are compared in the order of the file",
        ENTRIES,
        "rows = sorted(range(len(items)), key=lambda row: (items[row], repeats[row]))",
        "rows = list(range(len(items)))",
        REPEATED,
    ),
    Fault(
        "the published backbone is marked for a copy of it",
        PLAUSIBLE,
        "    if not published[0] or all(published):\n",
        "    if True:\n",
        REPEATED,
    ),
    Fault(
        "of two strangers with the same predictions one is marked",
        PLAUSIBLE,
        "    if not published[1] or all(published):\n",
        "    if all(published):\n",
        REPEATED,
    ),
    Fault(
        "a copy with the divisions in another order",
        PLAUSIBLE,
        "correlation = np.maximum(correlation, correlations(means))",
        "pass",
        REPEATED,
    ),
    Fault(
        "one division into folds stands for all",
        PLAUSIBLE,
        "if equal > COPIED_SHARE or correlation.max() > _ONE_DIVISION:",
        "if False:",
        REPEATED,
    ),
    Fault(
        "rounded predictions stand unmarked",
        PLAUSIBLE,
        "if table.kind is not Kind.MASK and _rounded_to(vector, _FEW_DIGITS):",
        "if False:",
        REPEATED,
    ),
    Fault(
        "a mixture of published predictions stands unmarked",
        COMBINED,
        "if (rest @ rest) < _MIXED_REST * (centred @ centred):",
        "if False:",
        REPEATED,
    ),
    Fault(
        "predictions of another task stand unmarked",
        PLAUSIBLE,
        "yield from _of_another_task(entries)",
        "pass",
        REPEATED,
    ),
    Fault(
        "two names of one network stand unmarked",
        PLAUSIBLE,
        "yield from _two_names(entries)",
        "pass",
        REPEATED,
    ),
    Fault(
        "a board lists every copy of a copy",
        PLAUSIBLE,
        'return ", ".join(names[:_MOST_NAMED]) + more',
        'return ", ".join(names)',
        REPEATED,
    ),
    Fault(
        "a precision that nobody has",
        "etab/leaderboard/admission/stated.py",
        'if precision not in ("", None, *NAMED):',
        "if False:",
        (f"{KINDS}::test_each_kind_is_refused_with_its_reason[a precision that nobody has]",),
    ),
    Fault(
        "more folds than the protocol has",
        RECORD,
        "        *_divisions(result, table, task),\n",
        "",
        (f"{KINDS}::test_each_kind_is_refused_with_its_reason[more folds than the protocol has]",),
    ),
    Fault(
        "one damaged table stops the clinical read-outs",
        "etab/cli/results.py",
        "        except EtabError as error:\n",
        "        except DataNotFoundError as error:\n",
        ("tests/runs/test_rescore.py::test_one_damaged_file_takes_nothing_from_the_others",),
    ),
    Fault(
        "one damaged file stops the check of all records",
        "etab/cli/rescore.py",
        "left_out=left_out.append if check else None",
        "left_out=None",
        ("tests/runs/test_rescore.py::test_one_damaged_file_takes_nothing_from_the_others",),
    ),
]
