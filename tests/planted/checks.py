"""Faults of canonical splits, of ``etab data check``, and of ``pytest --real``."""

from tests.faults import Fault

SPLITS = ("tests/datasets/test_canonical_splits.py",)
CHECK = ("tests/datasets/test_check.py",)
REAL = ("tests/datasets/test_real_sets.py",)
CANONICAL, WRITE = (
    "etab/datasets/integrity/canonical.py",
    "etab/datasets/integrity/canonical_write.py",
)
REPORT, LISTED = "etab/datasets/integrity/check.py", "etab/datasets/integrity/listed.py"

FAULTS = [
    Fault(
        "an edited split passes",
        CANONICAL,
        'if split.sha256() != table.get("sha256")',
        "if False",
        SPLITS,
    ),
    Fault("a patient listed twice passes", CANONICAL, " or listed != len(places)", "", SPLITS),
    Fault(
        "a digest of half a split",
        CANONICAL,
        "dict(self.counts), dict(self.places), self.folds]",
        "dict(self.counts), self.folds]",
        SPLITS,
    ),
    Fault(
        "a patient in another part passes",
        CANONICAL,
        "part not in",
        "False and part not in",
        SPLITS,
    ),
    Fault(
        "an unknown patient passes",
        CANONICAL,
        "return not (self.moved or self.unknown)",
        "return not self.moved",
        SPLITS,
    ),
    Fault(
        "an absent patient is refused",
        CANONICAL,
        "(self.moved or self.unknown)",
        "(self.moved or self.lacking)",
        SPLITS,
    ),
    Fault(
        "phantoms are compared",
        CANONICAL,
        "(not comparison.agrees and source.phantom)",
        "False",
        SPLITS,
    ),
    Fault(
        "a part may outgrow the published one",
        CANONICAL,
        "count > split.counts.get(part, 0)",
        "False",
        SPLITS,
    ),
    Fault(
        "changed folds pass",
        CANONICAL,
        "fold_digest(people(split)) != split.folds",
        "False",
        SPLITS,
    ),
    Fault(
        "folds move with the seed",
        "etab/splits.py",
        "rng = np.random.default_rng(seed)",
        "rng = np.random.default_rng(seed + 1)",
        SPLITS,
    ),
    Fault(
        "opening does not verify",
        "etab/datasets/__init__.py",
        "    verify_split(opened)\n",
        "",
        SPLITS,
    ),
    Fault(
        "Dataset does not verify",
        "etab/datasets/dataset.py",
        "        verify_split(self.source)\n",
        "",
        SPLITS,
    ),
    Fault(
        "the older release is held against the newer",
        "etab/datasets/camus.py",
        'return self.card.name if self.layout.nifti else ""',
        "return self.card.name",
        SPLITS,
    ),
    Fault(
        "a phantom becomes canonical",
        WRITE,
        "    _refuse_phantom(source.phantom, root)\n",
        "",
        SPLITS,
    ),
    Fault(
        "nobody is told of absent patients",
        CANONICAL,
        "if comparison is None or not comparison.lacking",
        "if True",
        SPLITS,
    ),
    Fault(
        "one missing file of many is listed",
        REPORT,
        "report.missing += error.missing",
        "report.missing += error.missing[:1]",
        CHECK,
    ),
    Fault(
        "missing files hide the damaged",
        REPORT,
        "report.corrupt += [message for message in damaged(",
        "[message for message in damaged(",
        CHECK,
    ),
    Fault("duplicates pass", REPORT, "    if first.id == record.id:\n", "    if True:\n", CHECK),
    Fault(
        "duplicates across splits are no leak",
        REPORT,
        "if first.split != record.split:",
        "if False:",
        CHECK,
    ),
    Fault(
        "duplicates by bytes of files alone",
        REPORT,
        "content.setdefault(_content(signal), record)",
        "content.setdefault(_content(signal) + bytes((source.root / record.files['ED']).read_bytes()), record)",
        CHECK,
    ),
    Fault("checksums are not compared", REPORT, "sums=not quick", "sums=False", CHECK),
    Fault(
        "other line ends are an alteration", LISTED, "if name not in other_line_ends]", "]", CHECK
    ),
    Fault("lists may climb out", LISTED, '".." in PurePosixPath(name).parts or', "", CHECK),
    Fault(
        "lists of records are not read",
        LISTED,
        "for table in _record_lists(root):",
        "for table in ():",
        CHECK,
    ),
    Fault(
        "misplaced patients are not reported",
        REPORT,
        "report.canonical += [*comparison.moved, *comparison.unknown]",
        "pass",
        CHECK,
    ),
    Fault("quick reads everything", REPORT, "None if quick else", "None if False else", CHECK),
    Fault(
        "a check that found faults ends with 0",
        "etab/cli/data.py",
        "raise typer.Exit(0 if report.ok else 1)",
        "raise typer.Exit(0)",
        CHECK,
    ),
    Fault(
        "a report that stopped is ok",
        REPORT,
        "return not self.stopped and not any(",
        "return not any(",
        CHECK,
    ),
    Fault(
        "a phantom is taken for real",
        "tests/datasets/test_real_sets.py",
        "    if source.phantom:\n",
        "    if False:\n",
        REAL,
    ),
    Fault(
        "--real takes any name",
        "tests/conftest.py",
        "    if name not in COUNTS:\n",
        "    if False:\n",
        REAL,
    ),
    Fault(
        "a cell is fitted on the patients that it is tested on, in another form",
        "etab/tasks/base.py",
        "if release_of(parsed.dataset) == release_of(parsed.test_dataset):",
        "if parsed.dataset == parsed.test_dataset:",
        ("tests/runs/test_cross.py",),
    ),
]
