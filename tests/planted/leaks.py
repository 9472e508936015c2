"""Faults of leakage: one person under two ids, and recordings that are there twice."""

from tests.faults import Fault

ALIKE = ("tests/datasets/test_alike.py",)
CLINICAL = ("tests/metrics/test_clinical.py",)
RESCORE = ("tests/benchmarks/test_rescore_numpy.py",)
SEEN = ("tests/runs/test_pretraining_sets.py",)
SAME_PERSON = ("tests/datasets/test_same_person.py",)

FAULTS = [
    Fault(
        "leaks: repeated folds count ids instead of people",
        "etab/runs/data.py",
        "people = [person_of.get(patient, patient) for patient in rows.patients.tolist()]",
        "people = rows.patients.tolist()",
        SAME_PERSON,
    ),
    Fault(
        "leaks: the published protocols merge ids",
        "etab/runs/data.py",
        "if parse(protocol).repeats == 1:",
        "if not protocol:",
        SAME_PERSON,
    ),
    Fault(
        "leaks: phantom patients of the same names are merged",
        "etab/datasets/integrity/canonical.py",
        "if person_of and source.phantom:",
        "if False:",
        SAME_PERSON,
    ),
    Fault(
        "leaks: results on CAMUS do not name the pair",
        "etab/datasets/camus.py",
        "return same_person_notes(self)",
        "return ()",
        SAME_PERSON,
    ),
    Fault(
        "leaks: copies across parts are run",
        "etab/runs/execute.py",
        "        refuse_leaks(run, data)\n",
        "        pass\n",
        ALIKE,
    ),
    Fault(
        "leaks: only a copy whose first name is trained on is refused",
        "etab/runs/leaks.py",
        "for first, second in ((pair.first, pair.second), (pair.second, pair.first)):",
        "for first, second in ((pair.first, pair.second),):",
        ALIKE,
    ),
    Fault(
        "leaks: fingerprints keep what all frames share",
        "etab/datasets/integrity/alike.py",
        "return unit_rows(rows - shared)",
        "return unit_rows(rows)",
        ALIKE,
    ),
    Fault(
        "leaks: gain changes the fingerprint of a sound",
        "etab/datasets/integrity/fingerprints.py",
        "levels = np.log(bands / mean + _FLOOR)",
        "levels = np.log(bands + _FLOOR)",
        ALIKE,
    ),
    Fault(
        "leaks: recordings of one patient are a pair",
        "etab/datasets/integrity/alike.py",
        "(table >= threshold) & others & upper",
        "(table >= threshold) & upper",
        ALIKE,
    ),
    Fault(
        "leaks: data check does not list near copies",
        "etab/datasets/integrity/check.py",
        "report.alike += [",
        "_ = [",
        ALIKE,
    ),
    Fault(
        "leaks: results do not name what is alike",
        "etab/runs/cell.py",
        "            *alike_note(alike),\n",
        "",
        ALIKE,
    ),
    Fault(
        "clinical: EF of 40 counts as below 40",
        "etab/metrics/clinical.py",
        '"bias, EF < 40": (bias, truth < low),',
        '"bias, EF < 40": (bias, truth < high),',
        CLINICAL,
    ),
    Fault(
        "clinical: equal scores pass a threshold one by one",
        "etab/metrics/clinical.py",
        "allowed = ends & (",
        "allowed = (",
        CLINICAL,
    ),
    Fault(
        "clinical: a small group is called the worst",
        "etab/metrics/clinical.py",
        "row.n >= SMALLEST_GROUP and",
        "",
        CLINICAL,
    ),
    Fault(
        "clinical: intervals of subgroups hold one by one",
        "etab/metrics/clinical.py",
        "level = 1 - 0.05 / max(family or len(names), 1)",
        "level = 0.95",
        CLINICAL,
    ),
    Fault(
        "clinical: no calibration slope is given",
        "etab/metrics/calibration.py",
        "return np.where(np.abs(step) < _SETTLED, slope, np.nan)",
        "return slope + np.nan",
        CLINICAL,
    ),
    Fault(
        "clinical: rounding of a constant probability has a calibration slope",
        "etab/metrics/calibration.py",
        "np.flatnonzero(_spread(odds, weights) > _LEAST_SPREAD)",
        "np.arange(len(weights))",
        CLINICAL,
    ),
    Fault(
        "rescore: intervals are not compared",
        "benchmarks/rescore_numpy.py",
        'yield "low", record["low"], float(low)',
        'yield "low", float(low), float(low)',
        RESCORE,
    ),
    Fault(
        "rescore: areas mix folds",
        "benchmarks/rescore_numpy.py",
        "np.unique(keys)] if within else",
        "np.unique(keys)] if False else",
        RESCORE,
    ),
    Fault(
        "leaks: a result does not say that its test data were seen",
        "etab/runs/cell.py",
        "            *leaks.seen_notes(source, run.backbone_card),\n",
        "",
        SEEN,
    ),
    Fault(
        "leaks: data are known by the name in etab alone",
        "etab/runs/leaks.py",
        "if _forms(name) & tested]",
        "if name in (dataset, release_of(dataset))]",
        SEEN,
    ),
    Fault(
        "leaks: a random twin lists the pretraining of its original",
        "etab/backbones/image/named.py",
        "            pretraining_sets=(),\n",
        "",
        SEEN,
    ),
    Fault(
        "leaks: another form of a release does not count",
        "etab/runs/leaks.py",
        "tested = {*_forms(dataset), _plain(source.canonical()), *titles}",
        "tested = {_plain(dataset), _plain(source.canonical()), *titles}",
        SEEN,
    ),
    Fault(
        "leaks: a backbone that saw the test is ranked",
        "etab/leaderboard/seen.py",
        "if with_seen or not seen_tasks(cells[name])]",
        "if True]",
        SEEN,
    ),
    Fault(
        "leaks: data of the pretraining that nobody lists are none",
        "etab/backbones/weights/index.py",
        '.get("datasets", "unknown")',
        '.get("datasets", "")',
        SEEN,
    ),
    Fault(
        "leaks: copies in a mirror are not found",
        "etab/datasets/integrity/alike.py",
        "            if reflected is not None:\n",
        "            if False:\n",
        ALIKE,
    ),
]
