"""Faults of the heads."""

from tests.faults import Fault

TRIDIAGONAL = "tests/heads/test_contract.py::test_tridiagonal_systems_are_those_of_the_matrix"
MOMENTS = "tests/heads/test_contract.py::test_moments_of_points_are_those_of_the_maps"

FAULTS = [
    Fault(
        "head centres with test rows",
        "etab/heads/pooled/linalg.py",
        "k = k - k.mean(axis=1, keepdims=True) - self.column_means + self.grand_mean",
        "k = k - k.mean(axis=1, keepdims=True) - k.mean(axis=0) + self.grand_mean",
        ("tests/heads/test_contract.py",),
    ),
    Fault(
        "principal components are not fitted",
        "etab/heads/pooled/linalg.py",
        "self.spread[:components], vectors=self.vectors[:, :components]",
        "self.spread[:1], vectors=self.vectors[:, :1]",
        ("tests/heads/test_contract.py::test_all_components_that_a_key_names_are_fitted",),
    ),
    Fault(
        "the head is blind",
        "etab/heads/pooled/probes.py",
        "kernels.predict(fit, key, split.test, path[:, best]) + mean",
        "np.full(len(split.test), mean)",
        ("tests/heads/test_contract.py",),
    ),
    Fault(
        "the head chooses on test rows",
        "etab/heads/pooled/probes.py",
        "        for part in split.inner:\n            rows = without",
        "        for part in (split.test,):\n            rows = without",
        ("tests/heads/test_contract.py",),
    ),
    Fault(
        "another kind is accepted",
        "etab/heads/pooled/probes.py",
        "if target.kind not in head.kinds:",
        "if False:",
        ("tests/heads/test_contract.py",),
    ),
    Fault(
        "a tridiagonal system is turned one way",
        "etab/heads/pooled/linalg.py",
        'self._turn(out, "N")',
        'self._turn(out, "T")',
        (TRIDIAGONAL,),
    ),
    Fault(
        "the shift is forgotten",
        "etab/heads/pooled/linalg.py",
        "self.diagonal + max(shift, -2 * self.lowest)",
        "self.diagonal",
        (TRIDIAGONAL,),
    ),
    Fault(
        "rounding makes a system singular",
        "etab/heads/pooled/linalg.py",
        "max(shift, -2 * self.lowest)",
        "shift",
        ("tests/heads/test_contract.py::test_rounding_below_zero_makes_no_system_singular",),
    ),
    Fault(
        "a moment that is not finite passes",
        "etab/heads/pooled/linalg.py",
        "if status or not np.isfinite(diagonal).all():",
        "if status:",
        ("tests/heads/test_contract.py::test_a_matrix_that_is_not_finite_is_refused",),
    ),
    Fault(
        "segmentation memo mixes structures",
        "etab/heads/masks/linear.py",
        "        labels = {p: d.label(y) for p, d in designs.items()}",
        "        labels = (memo if memo is not None else {}).setdefault('y', {p: d.label(y) for p, d in designs.items()})",
        ("tests/heads/test_contract.py",),
    ),
    Fault(
        "means are taken off twice",
        "etab/heads/masks/moments.py",
        "        -n,\n        mean,",
        "        -2 * n,\n        mean,",
        (MOMENTS,),
    ),
    Fault(
        "moments of parts are those of the last",
        "etab/heads/masks/moments.py",
        "            second += other.second\n",
        "            second = other.second.copy()\n",
        (MOMENTS,),
    ),
    Fault(
        "half of the moments are counted once",
        "etab/heads/masks/moments.py",
        "w, scipy.linalg.blas.dsymm(1.0, submatrix(whole, index).T, w, lower=1)\n",
        "w, submatrix(whole, index) @ w\n",
        (MOMENTS,),
    ),
    Fault(
        "points of another phase stand with the mask",
        "etab/heads/masks/points.py",
        "share @ positions_of_lattices()[index[row] % PHASES, point]",
        "share @ positions_of_lattices()[0 * row, point]",
        (MOMENTS,),
    ),
    Fault(
        "all rows weigh in the mean square",
        "etab/heads/pooled/linalg.py",
        "np.bincount(rows, minlength=len(kernel))",
        "np.ones(len(kernel))",
        ("tests/heads/test_contract.py::test_the_mean_square_is_of_the_training_rows",),
    ),
    Fault(
        "axes of a kernel that is not finite",
        "etab/heads/pooled/linalg.py",
        "    if status:\n",
        "    if False:\n",
        ("tests/heads/test_contract.py::test_a_kernel_that_is_not_finite_is_refused",),
    ),
    Fault(
        "a design holds itself",
        "etab/heads/masks/moments.py",
        "PartTable(partial(_moments, points), parts)",
        "PartTable(lambda rows: _moments(self.points, rows), parts)",
        ("tests/heads/test_contract.py",),
    ),
    Fault(
        "inner rows stay in the inner fit",
        "etab/splits.py",
        "return np.setdiff1d(train, part)",
        "return train",
        ("tests/heads/test_contract.py",),
    ),
]
