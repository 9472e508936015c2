"""Faults of results, the board and its page."""

from tests.faults import Fault

RESULTS, BOARD, PAGE = (
    ("tests/test_results.py",),
    ("tests/test_leaderboard.py",),
    ("tests/test_leaderboard.py",),
)

FAULTS = [
    Fault(
        "an overwritten result",
        "etab/results.py",
        "        if differ:\n",
        "        if False:\n",
        RESULTS,
    ),
    Fault(
        "a record written before its predictions",
        "etab/results.py",
        '        write_atomically(path.with_suffix(".csv"), text)\n        write_atomically(path, json.dumps(',
        "        write_atomically(path, json.dumps(asdict(self)))\n"
        '        write_atomically(path.with_suffix(".csv"), text)\n        write_atomically(path, json.dumps(',
        RESULTS,
    ),
    Fault(
        "a file written in place",
        "etab/results.py",
        "        temp.replace(path)\n",
        "        path.write_text(text)\n",
        RESULTS,
    ),
    Fault(
        "scraps of a failed write",
        "etab/results.py",
        "            temp.unlink(missing_ok=True)",
        "            pass",
        RESULTS,
    ),
    Fault(
        "a commit makes another result", "etab/results.py", 'if k != "provenance"}', "}", RESULTS
    ),
    Fault(
        "tampered predictions read",
        "etab/results.py",
        "if hashlib.sha256(data).hexdigest() != self.predictions_sha256:",
        "if False:",
        RESULTS,
    ),
    Fault(
        "fields read unchecked",
        "etab/results.py",
        "if not fits(getattr(self, f.name)):",
        "if False:",
        RESULTS,
    ),
    Fault(
        "another schema read", "etab/results.py", 'found.get("schema") != SCHEMA', "False", RESULTS
    ),
    Fault("two names in one place", "etab/results.py", 'f"~{b:02x}"', '"~"', RESULTS),
    Fault(
        "numbers kept longer than they are written",
        "etab/results.py",
        'float(f"{v:.7g}")',
        "float(v)",
        RESULTS,
    ),
    Fault(
        "the first fault of a folder hides the rest",
        "etab/results.py",
        "wrong.append(str(error))",
        "raise",
        RESULTS,
    ),
    Fault(
        "lost predictions stay lost",
        "etab/results.py",
        "if not table.exists() or",
        "if False and",
        RESULTS,
    ),
    Fault(
        "phantom beside real",
        "etab/leaderboard.py",
        "    if made and real:\n",
        "    if False:\n",
        BOARD,
    ),
    Fault(
        "a missing task averaged away",
        "etab/leaderboard.py",
        "if all(t in cells for t in headline))",
        "if any(t in cells for t in headline))",
        BOARD,
    ),
    Fault(
        "direction flipped",
        "etab/leaderboard.py",
        "share * (values - task.low) / (task.high - task.low)",
        "share * (values - task.low) / abs(task.high - task.low)",
        BOARD,
    ),
    Fault(
        "a resample of its own for each backbone",
        "etab/leaderboard.py",
        "    resamples = _resamples(whole[0], headline, tables, seed, draws) if whole else {}\n"
        "    scores = {b: _scores(b, headline, tables, tasks, resamples) for b in whole}",
        "    scores = {b: _scores(b, headline, tables, tasks, _resamples(b, headline, tables, seed + i, draws))"
        " for i, b in enumerate(whole)}",
        BOARD,
    ),
    Fault(
        "an unseeded board",
        "etab/leaderboard.py",
        "np.random.default_rng([seed, *dataset.encode()])",
        "np.random.default_rng()",
        BOARD,
    ),
    Fault(
        "pairs without Holm",
        "etab/leaderboard.py",
        "holm(p) if p else []",
        "[x / 100 for x in p]",
        BOARD,
    ),
    Fault(
        "p that Holm can never pass",
        "etab/leaderboard.py",
        "    return min(1.0, max(tail, 2 * against))",
        "    return min(1.0, 2 * (against + 1 / (len(there) + 1)))",
        BOARD,
    ),
    Fault(
        "p below what was counted", "etab/leaderboard.py", "max(tail, 2 * against)", "tail", BOARD
    ),
    Fault(
        "duplicates: the last one wins",
        "etab/leaderboard.py",
        "if r.task in board.setdefault(r.backbone, {}):",
        "if r.task in board.setdefault(r.backbone, {}) and False:",
        BOARD,
    ),
    Fault(
        "versions mixed",
        "etab/leaderboard.py",
        "if facts != (task.version, task.metric, task.low, task.high):",
        "if False:",
        BOARD,
    ),
    Fault(
        "data mixed",
        "etab/leaderboard.py",
        '_SAME = ("task_version", "data_digest",',
        '_SAME = ("task_version",',
        BOARD,
    ),
    Fault(
        "other rows ranked",
        "etab/leaderboard.py",
        "        if rows != wanted:\n",
        "        if False:\n",
        BOARD,
    ),
    Fault(
        "a value nobody recomputes",
        "etab/leaderboard.py",
        "if not math.isclose(value, said, rel_tol=1e-6, abs_tol=1e-9):",
        "if False:",
        BOARD,
    ),
    Fault(
        "task weights ignored",
        "etab/leaderboard.py",
        "{**self.task_weights, **tasks}",
        "{**self.task_weights}",
        BOARD,
    ),
    Fault(
        "category weights ignored",
        "etab/leaderboard.py",
        "categories.items() if within[c] > 0}",
        "{k: 1.0 for k in categories}.items() if within[c] > 0}",
        BOARD,
    ),
    Fault(
        "ties broken by name",
        "etab/leaderboard.py",
        "rank_intervals(beats)",
        "[(i, i) for i in range(1, len(order) + 1)]",
        BOARD,
    ),
    Fault(
        "surplus suite keys ignored",
        "etab/leaderboard.py",
        "sorted(set(found) - _SUITE_KEYS)",
        "[]",
        BOARD,
    ),
    Fault(
        "2022 with R2 below zero",
        "etab/leaderboard.py",
        "min(max(value, 0.0), 1.0) if",
        "value if",
        BOARD,
    ),
    Fault(
        "a name becomes markup in the page's data",
        "etab/site/render.py",
        'for sign in "<>&":',
        'for sign in "":',
        PAGE,
    ),
    Fault(
        "a name becomes markup in the static table",
        "etab/site/render.py",
        "html.escape(r.backbone)",
        "r.backbone",
        PAGE,
    ),
    Fault(
        "a name becomes markup in a terminal",
        "etab/site/render.py",
        "[Text(c) for c in cells]",
        "cells",
        PAGE,
    ),
    Fault(
        "a name becomes columns in Markdown",
        "etab/site/render.py",
        '.replace("|", "\\\\|")',
        "",
        PAGE,
    ),
    Fault(
        "phantom unsaid",
        "etab/leaderboard.py",
        'made = "PHANTOM data, not patients: " if self.phantom else ""',
        'made = ""',
        PAGE,
    ),
    Fault(
        "the page fetches",
        "etab/site/template.html",
        "</head>",
        '<script src="https://example.org/x.js"></script></head>',
        PAGE,
    ),
]
