"""Faults of the heads."""

from tests.faults import Fault

TRIDIAGONAL = "tests/test_heads.py::test_tridiagonal_systems_are_those_of_the_matrix"

FAULTS = [
    Fault("head centres with test rows", "etab/heads/linalg.py",
          "k = k - k.mean(axis=1, keepdims=True) - self.column_means + self.grand_mean",
          "k = k - k.mean(axis=1, keepdims=True) - k.mean(axis=0) + self.grand_mean", ("tests/test_heads.py",)),
    Fault("principal components are not fitted", "etab/heads/linalg.py",
          "self.spread[:components], vectors=self.vectors[:, :components]",
          "self.spread[:1], vectors=self.vectors[:, :1]",
          ("tests/test_heads.py",)),
    Fault("the head is blind", "etab/heads/probes.py", "kernels.predict(fit, key, split.test, path[:, best]) + mean",
          "np.full(len(split.test), mean)", ("tests/test_heads.py",)),
    Fault("the head chooses on test rows", "etab/heads/probes.py",
          "        for part in split.inner:\n            rows = without",
          "        for part in (split.test,):\n            rows = without", ("tests/test_heads.py",)),
    Fault("another kind is accepted", "etab/heads/probes.py", "if target.kind not in head.kinds:", "if False:",
          ("tests/test_heads.py",)),
    Fault("a tridiagonal system is turned one way", "etab/heads/linalg.py", 'self._turn(out, "N")', 'self._turn(out, "T")',
          (TRIDIAGONAL,)),
    Fault("the shift is forgotten", "etab/heads/linalg.py", "self.diagonal + max(shift, -2 * self.lowest)", "self.diagonal",
          (TRIDIAGONAL,)),
    Fault("rounding makes a system singular", "etab/heads/linalg.py", "max(shift, -2 * self.lowest)", "shift",
          ("tests/test_heads.py::test_rounding_below_zero_makes_no_system_singular",)),
    Fault("a moment that is not finite passes", "etab/heads/linalg.py",
          "if status or not np.isfinite(diagonal).all():", "if status:",
          ("tests/test_heads.py::test_a_matrix_that_is_not_finite_is_refused",)),
    Fault("leverage forgets the intercept", "etab/heads/linalg.py", "@ shrink + 1 / len(y)", "@ shrink",
          ("tests/test_heads.py",)),
    Fault("segmentation memo mixes structures", "etab/heads/decoders.py",
          "        labels = {p: d.label(y) for p, d in designs.items()}",
          "        labels = (memo if memo is not None else {}).setdefault('y', {p: d.label(y) for p, d in designs.items()})",
          ("tests/test_heads.py",)),
    Fault("a design holds itself", "etab/heads/decoders.py", "_Parts(partial(_moments, points), parts)",
          "_Parts(lambda rows: _moments(self.points, rows), parts)", ("tests/test_heads.py",)),
    Fault("inner rows stay in the inner fit", "etab/heads/probes.py", "return np.setdiff1d(train, part)", "return train",
          ("tests/test_heads.py",)),
]  # fmt: skip
