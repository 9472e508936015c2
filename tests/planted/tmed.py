"""Faults of TMED: its tables, stills, phantom, tasks on stills, and the diagnosis of a study."""

from tests.faults import Fault

TESTS = ("tests/datasets/test_tmed.py",)
PICTURES = ("tests/datasets/test_tmed_pictures.py",)
TASKS = ("tests/datasets/test_tmed_tasks.py",)
STUDY = ("tests/metrics/test_diagnosis.py",)
SOURCE, STILL, DIAGNOSIS = (
    "etab/datasets/tmed.py",
    "etab/readers/still.py",
    "etab/metrics/diagnosis.py",
)
LAYOUT = "etab/datasets/tmed_layout.py"

FAULTS = [
    Fault(
        "tmed: moderate stenosis is early", LAYOUT, '"moderate_AS": 2', '"moderate_AS": 1', TESTS
    ),
    Fault(
        "tmed: A2C and A4C swapped",
        LAYOUT,
        '"A2C": "A2C", "A4C": "A4C"',
        '"A2C": "A4C", "A4C": "A2C"',
        TESTS,
    ),
    Fault(
        "tmed: a patient is a study",
        SOURCE,
        'return match["patient"]',
        'return match["study"]',
        TESTS,
    ),
    Fault(
        "tmed: any stenosis means significant",
        SOURCE,
        "int(severity > 0)",
        "int(severity > 1)",
        TESTS,
    ),
    Fault(
        "tmed: the fold is ignored",
        LAYOUT,
        "format(part=part, fold=fold)",
        "format(part=part, fold=0)",
        TESTS,
    ),
    Fault(
        "tmed: the development set is ignored",
        SOURCE,
        "part or part_of_root or self.release.parts[0]",
        "self.release.parts[0]",
        TESTS,
    ),
    Fault(
        "tmed: another fold file stands in",
        LAYOUT,
        "if required or fold or others:",
        "if False:",
        TESTS,
    ),
    Fault("tmed: two parts of one image pass", SOURCE, "if len(named) > 1:", "if False:", TESTS),
    Fault(
        "tmed: a patient in two parts passes",
        SOURCE,
        "            check_leaks(records)\n",
        "",
        TESTS,
    ),
    Fault(
        "tmed: tables that differ pass",
        SOURCE,
        "            self._check_agreement(rows, labels)\n",
        "",
        TESTS,
    ),
    Fault(
        "tmed: missing images pass", SOURCE, "            self._check_images(records)\n", "", TESTS
    ),
    Fault(
        "tmed: an image listed twice passes", SOURCE, "    if twice:\n", "    if False:\n", TESTS
    ),
    Fault(
        "tmed: unknown labels are not given",
        SOURCE,
        "        if label not in known:\n            raise",
        "        if label not in known:\n            return None\n            raise",
        TESTS,
    ),
    Fault(
        "tmed: a folder climbs out",
        SOURCE,
        'if path.is_absolute() or ".." in path.parts',
        "if False and path.parts",
        TESTS,
    ),
    Fault(
        "tmed: images without a diagnosis slip in",
        SOURCE,
        "(diagnosis is None and self.diagnosed)",
        "False",
        TESTS,
    ),
    Fault("tmed: unlabelled rows slip in", SOURCE, "or (listed and not part)", "", TESTS),
    Fault(
        "tmed: the text of images is not looked at",
        "etab/readers/still.py",
        'return "phantom" in',
        'return "made" in',
        TASKS,
    ),
    Fault(
        "tmed: a still has two frames",
        SOURCE,
        "if any(i != 0 for i in numbers):",
        "if False:",
        TESTS,
    ),
    Fault(
        "tmed: check counts images as studies",
        SOURCE,
        'r.meta["study"]: self.answers',
        "r.id: self.answers",
        TESTS,
    ),
    Fault(
        "table: short rows pass",
        "etab/readers/table.py",
        "if len(line.cells) != len(header) and not ragged:",
        "if False:",
        TESTS,
    ),
    Fault(
        "png: checksums are not compared",
        STILL,
        "if zlib.crc32(body, zlib.crc32(head[4:])) !=",
        "if False and 1 !=",
        PICTURES,
    ),
    Fault(
        "png: an early end passes",
        STILL,
        '    if kinds[-1] != b"IEND":\n',
        "    if False:\n",
        PICTURES,
    ),
    Fault(
        "png: any size is decoded",
        STILL,
        "    if not (1 <= size[0] <= LARGEST_SIDE",
        "    if False and not (1 <= size[0] <= LARGEST_SIDE",
        PICTURES,
    ),
    Fault(
        "png: 16 bits are cut to 8", STILL, "    if info.bits > 8:\n", "    if False:\n", PICTURES
    ),
    Fault(
        "stills: rows of other views",
        "etab/features/frames.py",
        "[([int(a.at or 0)], a.value) for a in answers]",
        "[([0], 0)] if not answers else [([int(a.at or 0)], a.value) for a in answers]",
        TASKS,
    ),
    Fault(
        "a prefix asks a folder for the tasks of others",
        "etab/runs/data.py",
        "if _opens(name, root)]",
        "if True]",
        TASKS,
    ),
    Fault(
        "phantom: stenosis leaves the valve alone",
        "etab/phantom/tmed.py",
        "0.25 + 0.95 * calcium",
        "0.25",
        TASKS,
    ),
    Fault(
        "phantom: stills carry no mark",
        "etab/phantom/tmed.py",
        "return raw[:end] + chunk + raw[end:]",
        "return raw",
        TASKS,
    ),
    Fault(
        "study: relevance does not weigh",
        DIAGNOSIS,
        "weight = relevances * (",
        "weight = 1.0 * (",
        STUDY,
    ),
    Fault(
        "study: the entropy threshold is ignored",
        DIAGNOSIS,
        "is_relevant & is_certain",
        "is_relevant",
        STUDY,
    ),
    Fault(
        "study: above the threshold, not at it",
        DIAGNOSIS,
        "relevances >= thresholds.relevance",
        "relevances > thresholds.relevance",
        STUDY,
    ),
    Fault(
        "study: no image means no answer",
        DIAGNOSIS,
        "np.where(used[inverse] > 0, weight, 1.0)",
        "weight",
        STUDY,
    ),
    Fault("study: entropy in bits", DIAGNOSIS, "= np.log(np.where(", "= np.log2(np.where(", STUDY),
    Fault(
        "study: the laxest of equal thresholds",
        DIAGNOSIS,
        "at.relevance, -at.entropy)",
        "-at.relevance, at.entropy)",
        STUDY,
    ),
    Fault("study: two diagnoses pass", DIAGNOSIS, "    if len(odd):\n", "    if False:\n", STUDY),
    Fault(
        "study: the last class is left out",
        DIAGNOSIS,
        "recalls(truth, answers, n_classes).mean()",
        "recalls(truth, answers, n_classes)[:-1].mean()",
        STUDY,
    ),
    Fault(
        "study: upstream scores every view",
        DIAGNOSIS,
        "n_classes)[:-1].mean()",
        "n_classes).mean()",
        STUDY,
    ),
]
