"""Faults of the stacked probe."""

from tests.faults import Fault

TESTS = ("tests/heads/test_stack.py",)
STACK = "etab/heads/pooled/stack.py"
KERNELS = "etab/heads/pooled/kernel_fits.py"
MOMENTS = "etab/heads/pooled/moment_fits.py"
CHOICES = "etab/heads/pooled/choices.py"
SHARED = "etab/heads/pooled/shared_fits.py"
NEAR = "etab/heads/pooled/approximate_fits.py"
NEAR_TESTS = ("tests/heads/test_approximate_fits.py",)
WEIGHTED = "etab/heads/pooled/weighted_fits.py"
WEIGHTED_TESTS = ("tests/heads/test_weighted_fits.py",)
COMBINE = "etab/heads/pooled/combine.py"

FAULTS = [
    Fault(
        "stack: no constant beside the candidates",
        COMBINE,
        "constant = float(np.median(y))",
        "constant = 0.0",
        TESTS,
    ),
    Fault(
        "stack: classes that are cut from a value are fitted without it",
        STACK,
        "y = labels if values is None else values[:, None]",
        "y = labels",
        TESTS,
    ),
    Fault(
        "stack: a probability may rise with the value that should be low",
        COMBINE,
        "used = 1 if slope < 0 else 0",
        "used = 1",
        TESTS,
    ),
    Fault(
        "cells: classes of a cross-dataset task are fitted by values of one data set",
        "etab/runs/data.py",
        "return np.concatenate(values) if len(values) == len(of_parts) else None",
        "return values[-1]",
        ("tests/runs/test_cross.py",),
    ),
    Fault(
        "stack: weights may be negative",
        COMBINE,
        "np.asarray(scipy.optimize.nnls(factor.T, right)[0])",
        "np.linalg.solve(factor.T, right)",
        TESTS,
    ),
    Fault(
        "stack: weights of classes may be negative",
        COMBINE,
        "bounds = [(0.0, None)] * k",
        "bounds = [(None, None)] * k",
        TESTS,
    ),
    Fault(
        "stack: the prior is forgotten",
        COMBINE,
        "strength = PRIOR * away.shape[1]",
        "strength = 0 * away.shape[1]",
        TESTS,
    ),
    Fault(
        "stack: weights are fitted on rows that the candidates have seen",
        CHOICES,
        "self._exact[index] = self._predict(float(PENALTIES[index]))",
        "self._exact[index] = self.fits.train @ np.linalg.solve("
        "self.fits.train + 1e-3 * np.eye(len(self._y)), self._y)"
        " if hasattr(self.fits.train, 'ndim') and self.fits.train.ndim == 2"
        " else self._predict(float(PENALTIES[index]))",
        TESTS,
    ),
    Fault(
        "stack: test rows decide means and deviations of kernels",
        KERNELS,
        "mean = fitted.mean(axis=0)\n",
        "mean = prepared.values[:, block].mean(axis=0)\n",
        TESTS,
    ),
    Fault(
        "stack: test rows decide the centre of raw kernels",
        KERNELS,
        "across -= means\n",
        "across -= across.mean(axis=0)\n",
        TESTS,
    ),
    Fault(
        "stack: test rows decide means of moments",
        MOMENTS,
        "mean = total / len(train)\n",
        "mean = np.asarray(x, dtype=np.float64).mean(axis=0)\n",
        TESTS,
    ),
    Fault(
        "stack: values of test rows have no limit",
        KERNELS,
        "np.clip(values, -LARGEST, LARGEST, out=values)",
        "pass",
        TESTS,
    ),
    Fault(
        "stack: constant columns are standardised",
        "etab/heads/pooled/candidates.py",
        "varies = deviation > SMALLEST_DEVIATION * root_mean_square",
        "varies = deviation > 0",
        TESTS,
    ),
    Fault(
        "stack: two frames stay side by side",
        KERNELS,
        "sum_and_difference(x) if frames == 2 else x",
        "x",
        TESTS,
    ),
    Fault(
        "stack: the intercept of left-out parts is forgotten",
        KERNELS,
        "dual = solved[:, :-1] - np.outer(solved[:, -1], intercept)",
        "dual = solved[:, :-1]",
        TESTS,
    ),
    Fault(
        "stack: the mean of a part stays in the moments",
        MOMENTS,
        "- second - n * np.outer(mean, mean)",
        "- second",
        TESTS,
    ),
    Fault(
        "stack: the memo mixes splits",
        SHARED,
        'place = ("stack", candidate.name, x.shape, rows.key)',
        'place = ("stack", x.shape)',
        TESTS,
    ),
    Fault(
        "stack: every repeat prepares the columns again",
        SHARED,
        "self._share(place, self.prepared[key])",
        "pass",
        TESTS,
    ),
    Fault(
        "stack: predictions by columns are not centred",
        KERNELS,
        "(of_test - of_train.mean(axis=0))",
        "of_test",
        TESTS,
    ),
    Fault(
        "stack: classes are never balanced",
        STACK,
        "if not isinstance(memo, Memo) or not memo.balanced:",
        "if True:",
        TESTS,
    ),
    Fault(
        "stack: databases decide the fits of candidates",
        STACK,
        "is_weighted = shared.has_databases(rows.train)",
        "is_weighted = False",
        WEIGHTED_TESTS,
    ),
    Fault(
        "stack: a part stays in the weighted mean of the answers",
        WEIGHTED,
        "self.answers - part.answers,",
        "self.answers,",
        WEIGHTED_TESTS,
    ),
    Fault(
        "stack: the intercept ignores the weights",
        WEIGHTED,
        "intercept = roots @ solved[:, :-1] / (roots @ solved[:, -1])",
        "intercept = solved[:, :-1].sum(axis=0) / solved[:, -1].sum()",
        WEIGHTED_TESTS,
    ),
    Fault(
        "stack: constants of balanced fits differ by the tolerance of a search",
        COMBINE,
        "fitted[k:] if weights.any() else _logits(shares)",
        "fitted[k:] + 1e-6",
        TESTS,
    ),
    Fault(
        "stack: rounding tells balanced constants apart",
        STACK,
        "if shared.is_balanced():",
        "if False:",
        TESTS,
    ),
    Fault(
        "stack: features that never change inside a part have weights",
        CHOICES,
        "return spread > CONSTANT",
        "return True",
        TESTS,
    ),
    Fault(
        "stack: approximate predictions decide close calls",
        CHOICES,
        "if abs(first - second) > CLEAR * accuracy * max(first, second):",
        "if True:",
        NEAR_TESTS,
    ),
    Fault(
        "stack: weights are of approximate predictions",
        STACK,
        "left_out[:, k] = choices[k].exact()[inner]",
        "pass",
        NEAR_TESTS,
    ),
    Fault(
        "stack: inner products of approximate predictions are not centred",
        NEAR,
        "image -= mean[:, None]\n",
        "pass\n",
        NEAR_TESTS,
    ),
    Fault(
        "stack: solutions that leave too much count as approximations",
        NEAR,
        "suffices = not failed and left <= accuracy * self._lengths[system]",
        "suffices = True",
        NEAR_TESTS,
    ),
]
