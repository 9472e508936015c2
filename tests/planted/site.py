"""Faults of the site."""

from tests.faults import Fault

SITE = ("tests/site/test_site.py",)
EXAMPLES = ("tests/site/test_examples.py",)
BROWSER = ("tests/site/test_browser.py",)

FAULTS = [
    Fault(
        "a site that deletes files outside its folder",
        "etab/site/write.py",
        "is_below = path.parent.resolve().is_relative_to(folder.resolve())",
        "is_below = True",
        SITE,
    ),
    Fault(
        "names that become markup",
        "etab/site/write.py",
        "autoescape=True",
        "autoescape=False",
        SITE,
    ),
    Fault(
        "data that end their script",
        "etab/site/packing.py",
        'for sign in "<>&',
        'for sign in "&',
        SITE,
    ),
    Fault(
        "noise outside the kept directions forgotten",
        "etab/site/noise.py",
        "np.maximum(rest, 0.0))",
        "0.0 * rest)",
        SITE,
    ),
    Fault(
        "a marker of another program trusted",
        "etab/site/write.py",
        'marker.get("made_by") != MADE_BY',
        "not marker",
        SITE,
    ),
    Fault(
        "a marker that is written last",
        "etab/site/write.py",
        "    _mark(folder, former | set(files))\n",
        "",
        SITE,
    ),
    Fault(
        "one correction for all tasks of a group",
        "etab/site/noise.py",
        "line.append(None if noise is None else _part(noise).design.correction)",
        "line.append(0.29)",
        SITE,
    ),
    Fault(
        "the protocol of the board on every page of a task",
        "etab/site/facts.py",
        '"protocols": _protocols(task["code"], board)',
        '"protocols": [board.protocol]',
        SITE,
    ),
    Fault(
        "the correction of a task without weight",
        "etab/site/assets/rank.js",
        "filter(t => weights[t] > 0)",
        "filter(t => weights[t] >= 0)",
        BROWSER,
    ),
    Fault(
        "rows that have seen a test are ranked once it weighs nothing",
        "etab/site/assets/rank.js",
        "const isSeen = row.marks.seen.length > 0 && !this.withSeen;",
        "const isSeen = row.marks.seen.some(code => scored.includes(code));",
        BROWSER,
    ),
    Fault(
        "copies of weights judged like any pair",
        "etab/site/assets/rank.js",
        "if (isLikeFirst[i] && isLikeFirst[j]) apart",
        "if (true) apart",
        BROWSER,
    ),
    Fault(
        "names that a spreadsheet runs",
        "etab/site/assets/export.js",
        'if (typeof value !== "number" && /^[\\s]*[=+\\-@]/.test(text)) text = `\'${text}`;',
        "",
        BROWSER,
    ),
    Fault(
        "a cell that stays grey after its weight is back",
        "etab/site/assets/table.js",
        'cell.classList.toggle("none", value == null);',
        'if (value == null) cell.classList.add("none");',
        BROWSER,
    ),
    Fault(
        "Holm's correction in one step",
        "etab/site/assets/rank.js",
        "      passed = count;\n",
        "      return threshold;\n",
        BROWSER,
    ),
    Fault(
        "different files of one cell merged",
        "etab/results/merge.py",
        "    elif not _is_same(first, path):",
        "    elif False:",
        ("tests/test_merge.py",),
    ),
    Fault(
        "merged folders without names",
        "etab/cli/boards.py",
        "html, folders=holders, examples=examples)",
        "html, examples=examples)",
        ("tests/test_merge.py",),
    ),
    Fault(
        "predictions of the first repeat only",
        "etab/site/predictions.py",
        "return np.asarray(sums / np.bincount(place))",
        "return np.asarray(sums)",
        SITE,
    ),
    Fault(
        "predictions in files of any size",
        "etab/site/predictions.py",
        "<= MOST_PREDICTIONS",
        "> 0",
        SITE,
    ),
    Fault(
        "the worst cases are the best ones",
        "etab/site/assets/predictions.js",
        "a.error - b.error",
        "b.error - a.error",
        BROWSER,
    ),
    Fault(
        "the worst recording called the best",
        "etab/site/examples.py",
        "(-shown[name].dice, name)",
        "(shown[name].dice, name)",
        EXAMPLES,
    ),
    Fault(
        "clips of other data than those of the results",
        "etab/site/examples.py",
        "if not abs(dice - stated) <= _TOLERANCE:",
        "if False:",
        EXAMPLES,
    ),
    Fault(
        "the predicted contour left out",
        "etab/site/examples.py",
        "(mask, PREDICTED_COLOUR)",
        "(None, PREDICTED_COLOUR)",
        EXAMPLES,
    ),
]
