"""Faults of the masks that are kept beside a record."""

from tests.faults import Fault

_HOSTILE = "tests/leaderboard/admission/test_masks.py"
_CELLS = "tests/runs/test_kept_masks.py"
FILE = "etab/results/masks.py"
ADMISSION = "etab/leaderboard/admission/masks.py"
SUBMIT = "etab/leaderboard/admission/submission.py"
AGAIN = "etab/runs/remeasure.py"
RECORD = "etab/results/record.py"


def _refused(name: str) -> tuple[str, ...]:
    return (f"{_HOSTILE}::test_hostile_masks_are_refused[{name}]",)


def _told(name: str) -> tuple[str, ...]:
    return (f"{_CELLS}::test_masks_that_do_not_give_the_told_scores[{name}]",)


FAULTS = [
    Fault(
        "a submission without masks",
        SUBMIT,
        'if beside in ("all", wanted):',
        "if True:",
        _refused("missing"),
    ),
    Fault(
        "a pipe of masks is opened",
        ADMISSION,
        "reason = unsafe(path, LARGEST_MASKS)",
        'reason = ""',
        _refused("a link"),
    ),
    Fault(
        "a directory of any length is read",
        FILE,
        "if members != len(_MEMBERS) or directory > _LARGEST_DIRECTORY:",
        "if False:",
        _refused("a thousand members"),
    ),
    Fault(
        "bytes behind the masks",
        FILE,
        '        if stream.read(1):\n            raise ValueError("bits.npy is longer than its masks")\n',
        "",
        _refused("zeros to the end of memory"),
    ),
    Fault(
        "masks of any size",
        FILE,
        "    _refuse_sizes(shapes, boxes)\n",
        "",
        _refused("many large masks"),
    ),
    Fault(
        "other masks than the record's",
        ADMISSION,
        'if len(rows) == len(table.items) and joint_digest(digests) != result.masks["sha256"]:',
        "if False:",
        _refused("two swapped"),
    ),
    Fault(
        "a sample that somebody chose",
        ADMISSION,
        "reason = _other_sample(result, table)",
        'reason = ""',
        _refused("a sample of one"),
    ),
    Fault(
        "an empty mask overlaps",
        ADMISSION,
        'if not mask.any() and table.columns["dice"][row] > 0:',
        "if False:",
        _refused("an empty mask that overlaps"),
    ),
    Fault(
        "dice is told and not computed",
        AGAIN,
        "for name in MASK_COLUMNS:",
        "for name in ():",
        (*_told("better dice"), *_told("masks moved by a pixel")),
    ),
    Fault(
        "masks are scored on other data",
        AGAIN,
        "if data.digest(result.dataset) != result.data_digest:",
        "if False:",
        _told("other data"),
    ),
    Fault(
        "a box loses its last column",
        FILE,
        "int(columns[-1]) + 1 - left",
        "int(columns[-1]) - left",
        (f"{_HOSTILE}::test_a_file_gives_its_masks_back",),
    ),
    Fault(
        "the masks of one repeat alone are kept",
        "etab/runs/cell.py",
        "masks=[mask for part in parts for mask in part.masks],",
        "masks=list(parts[0].masks),",
        (f"{_CELLS}::test_scores_follow_from_the_masks",),
    ),
]
