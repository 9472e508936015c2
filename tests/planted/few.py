"""Faults of draws of few labelled patients, and of their curves."""

from tests.faults import Fault

TESTS = ("tests/runs/test_label_fractions.py",)
FILE = "etab/tasks/protocols.py"

FAULTS = [
    Fault(
        "few: each size draws anew",
        FILE,
        "rng = np.random.default_rng(seeds)",
        "rng = np.random.default_rng([*seeds, int(self.percent or 0)])",
        TESTS,
    ),
    Fault(
        "few: the draw is ignored",
        FILE,
        "(seed + split.repeat, self.draw,",
        "(seed + split.repeat, 0,",
        TESTS,
    ),
    Fault(
        "few: everybody is trained on",
        FILE,
        "row in split.train if str(patients[row]) in inner_of",
        "row in split.train",
        TESTS,
    ),
    Fault(
        "few: classes as they come",
        FILE,
        "classes = _classes(patients, answers, kind)",
        "classes: dict[str, int] = {}",
        TESTS,
    ),
    Fault(
        "few: the authors' validation patients still choose",
        FILE,
        "            train,\n            inner,\n            split.test,\n",
        "            train,\n            split.inner,\n            split.test,\n",
        TESTS,
    ),
    Fault(
        "few: a draw of one passes",
        FILE,
        "max(_NEEDED, self.shots or 0):",
        "(self.shots or 0):",
        TESTS,
    ),
    Fault(
        "few: undrawn rows are fitted",
        "etab/heads/pooled/probes.py",
        "fitted, y = z[seen], y[seen]",
        "fitted, y, sets, seen = z, y, [everyone for _ in sets], everyone",
        TESTS,
    ),
    Fault(
        "curves: the first draw alone",
        "etab/leaderboard/curves.py",
        "value=float(np.mean([result.value for result in draws]))",
        "value=draws[0].value",
        TESTS,
    ),
    Fault(
        "curves: intervals of one draw",
        "etab/leaderboard/curves.py",
        "for result, table in tables]\n    low, high",
        "for result, table in tables[:1]]\n    low, high",
        TESTS,
    ),
    Fault(
        "curves: a file of numbers that cannot be is believed",
        "etab/leaderboard/curves.py",
        "    _refuse_impossible(point)\n",
        "",
        ("tests/leaderboard/test_kept_curves.py",),
    ),
    Fault(
        "curves: a point twice",
        "etab/leaderboard/curves.py",
        "            if key in points:\n",
        "            if False:\n",
        ("tests/leaderboard/test_kept_curves.py",),
    ),
    Fault(
        "curves: phantom is not said",
        "etab/leaderboard/curves.py",
        "if any(point.phantom for point in points):",
        "if False:",
        TESTS,
    ),
    Fault(
        "curves: controls have bands",
        "etab/leaderboard/curves_plot.py",
        "not is_reference(line[0].kind)",
        "not line[0].backbone.startswith('random/')",
        TESTS,
    ),
    Fault(
        "curves: the picture is not shown",
        "etab/leaderboard/curves.py",
        "    if picture:\n",
        "    if not picture:\n",
        TESTS,
    ),
]
