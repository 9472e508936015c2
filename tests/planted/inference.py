"""Faults of standard errors, tests and verdicts."""

from tests.faults import Fault

INFERENCE = ("tests/metrics/test_inference.py",)
COVERAGE = ("tests/benchmarks/test_coverage.py",)
SEPARATION = ("tests/leaderboard/test_separation.py",)
MODULE = "etab/metrics/inference.py"
DESIGN = "etab/metrics/design.py"
SPEED = ("tests/leaderboard/test_board_speed_paths.py",)
PAIRS = "etab/leaderboard/pairs.py"

FAULTS = [
    Fault(
        "the training draw is dropped from the variance",
        DESIGN,
        "return 1 + share * tested_over_training",
        "return 1.0",
        INFERENCE,
    ),
    Fault(
        "a single split is taken for folds",
        DESIGN,
        "elif self.n_fold > 1 and self.repeats == 1:",
        "elif self.repeats == 1:",
        INFERENCE,
    ),
    Fault(
        "one division of the patients is as good as five",
        DESIGN,
        "elif self.n_fold > 1 and self.repeats == 1:",
        "elif False:",
        INFERENCE,
    ),
    Fault(
        "a difference has the training share of a value",
        MODULE,
        "factor = parts[0].design.difference_factor",
        "factor = parts[0].design.value_factor",
        INFERENCE,
    ),
    Fault(
        "noise of test patients counts as noise of the training draw",
        "benchmarks/training_draw.py",
        "of_draw = ((values[0] - values[1]) ** 2 - of_test) / 2",
        "of_draw = (values[0] - values[1]) ** 2 / 2",
        ("tests/benchmarks/test_training_draw.py",),
    ),
    Fault(
        "rows are left out one at a time, not patients",
        MODULE,
        "    n = len(patients)\n    units = Units(positions(patients, rows.patients), n)\n",
        "    n = len(rows)\n    units = Units.single_rows(n)\n",
        INFERENCE,
    ),
    Fault(
        "an area near 1 has an interval that holds nearly every area",
        "etab/metrics/intervals.py",
        "_FARTHEST = 3.0",
        "_FARTHEST = math.inf",
        INFERENCE,
    ),
    Fault(
        "an encoder is judged by patients alone",
        MODULE,
        "        return of_scores + self.added",
        "        return self.patient_variance",
        INFERENCE,
    ),
    Fault(
        "choices of a head that hang on the training patients are taken for the measured share",
        MODULE,
        "        of_scores = max(factor * within, within + OF_DIVISIONS * self.division_variance)",
        "        of_scores = factor * within",
        INFERENCE,
    ),
    Fault(
        "the interval of a constant that decides is a point",
        MODULE,
        "_factor_of_least(metric, design) * max(least, within)",
        "_factor_of_least(metric, design) * within",
        INFERENCE,
    ),
    Fault(
        "the R2 of a constant is certain",
        "etab/metrics/values.py",
        "    least=_least_variance_of_r2,\n",
        "",
        INFERENCE,
    ),
    Fault(
        "a least variance comes on top of what divisions show",
        MODULE,
        "max(least, within) - part.encoder_variance",
        "max(least, within) - design.value_factor * within",
        INFERENCE,
    ),
    Fault(
        "decided classes have the training share of scores",
        MODULE,
        "design.decision_factor if METRICS[metric].of_decisions else design.value_factor",
        "design.value_factor",
        INFERENCE,
    ),
    Fault(
        "a fixed threshold is taken for one that follows the fit",
        MODULE,
        "        return design.fixed_decision_factor\n",
        "        return design.decision_factor\n",
        INFERENCE,
    ),
    Fault(
        "a score forgets what its decided classes add",
        MODULE,
        "added = sum(w**2 * part.added for w, part in zip(weights, parts, strict=True))",
        "added = 0.0",
        INFERENCE,
    ),
    Fault(
        "the interval of an area near 1 is that of a mean",
        "etab/metrics/intervals.py",
        "if METRICS[metric].in_logits and 0 < value < 1:",
        "if False:",
        INFERENCE,
    ),
    Fault(
        "what changes from fit to fit is averaged away",
        MODULE,
        "return np.asarray(part.people.ravel() / math.sqrt(len(part.people)))",
        "return np.asarray(part.people.mean(axis=0))",
        INFERENCE,
    ),
    Fault(
        "repeats count as further patients",
        MODULE,
        "return float(np.square(self.people.mean(axis=0)).sum())",
        "return float(np.square(self.people).sum() / len(self.people) ** 2)",
        INFERENCE,
    ),
    Fault(
        "databases count as draws of one population",
        DESIGN,
        "        if not self.alike:\n",
        "        if False:\n",
        INFERENCE,
    ),
    Fault(
        "a normal tail for few patients",
        MODULE,
        "2 * scipy.special.stdtr(degrees, -np.abs(_ratios(differences, variances)))",
        "2 * scipy.special.stdtr(1e9, -np.abs(_ratios(differences, variances)))",
        INFERENCE,
    ),
    Fault(
        "pairs are compared without the training draw",
        MODULE,
        "return factor * _squared_distances(np.stack([_patient_vector(part) for part in parts]))",
        "return paired_patient_variances(parts)",
        INFERENCE,
    ),
    Fault(
        "close pairs lose their digits",
        MODULE,
        "    return np.asarray(above + above.T)\n",
        "    squares = np.square(vectors).sum(axis=1)\n"
        "    return np.asarray(squares[:, None] + squares - 2 * vectors @ vectors.T)\n",
        INFERENCE,
    ),
    Fault(
        "Holm is skipped",
        PAIRS,
        "values = holm(p[rows, columns].tolist())",
        "values = p[rows, columns]",
        SEPARATION,
    ),
    Fault(
        "p values that decide are taken for small ones",
        MODULE,
        "between = (sizes >= never) & (sizes <= always)",
        "between = sizes < never\n    p[sizes >= never] = 0.0",
        SPEED,
    ),
    Fault(
        "an area of one fold is that of all",
        "etab/metrics/areas.py",
        "areas = [ratio(right, np.asarray(float(pairs))) for right, pairs in counts]",
        "areas = [self.values() for _ in counts]",
        SPEED,
    ),
    Fault(
        "numbers that JSON does not have are plain",
        "etab/results/record.py",
        "parse_constant=number",
        "parse_constant=float",
        SPEED,
    ),
    Fault(
        "copies of an entry are further tests",
        PAIRS,
        "        first.setdefault(digest, i)\n",
        '        first.setdefault(f"{digest}{i}", i)\n',
        SEPARATION,
    ),
    Fault(
        "the seed of the draws decides verdicts",
        "etab/leaderboard/ranking.py",
        "        contest.digests(order),\n    )\n",
        "        contest.digests(order),\n    )\n    if resampled:\n"
        "        lows = np.array([np.quantile(resampled[name], 0.025) for name in order])\n"
        "        highs = np.array([np.quantile(resampled[name], 0.975) for name in order])\n"
        "        comparison.p_better[:] = (highs[:, None] > lows[None, :]) * (lows[:, None] % 1)\n",
        SEPARATION,
    ),
    Fault(
        "datasets are taken for the same people",
        "etab/leaderboard/noise.py",
        "total = sum(np.square(deviation) for deviation in deviations.values())",
        "total = np.square(sum(deviations.values()))",
        SEPARATION,
    ),
    Fault(
        "noise that backbones share counts against a task",
        PAIRS,
        "of_dataset - of_dataset.mean(axis=0)",
        "of_dataset",
        SEPARATION,
    ),
    Fault(
        "a task that separates nothing is not marked",
        "etab/leaderboard/notes.py",
        "        *_separating_nothing(suite, reliabilities),\n",
        "",
        SEPARATION,
    ),
    Fault(
        "etab-p takes from other categories",
        "etab/leaderboard/suites.py",
        "shares = self.weights(self.precision_weights, {})",
        "values = np.array([self.precision_weights[code] for code in self.tasks])\n"
        "        shares = values / values.sum()",
        SEPARATION,
    ),
    Fault(
        "an encoder with too little noise: heads refitted show it",
        MODULE,
        "return np.asarray(part.people.ravel() / math.sqrt(len(part.people)))",
        "return np.asarray(part.people.mean(axis=0) / 1.1)",
        COVERAGE,
    ),
    Fault(
        "the made world gives probes another value than new people do",
        "benchmarks/coverage_world.py",
        "noise = sd**2 * float(fit.weights @ fit.weights)",
        "noise = sd * float(fit.weights @ fit.weights)",
        COVERAGE,
    ),
]
