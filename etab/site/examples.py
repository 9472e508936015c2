"""Clips of the best, the median and the worst recordings of a backbone, with both contours."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etab import datasets
from etab.datasets.base import SoundSource, Source
from etab.errors import ResultError
from etab.leaderboard.admission.masks import kept_masks, rows_with_masks
from etab.leaderboard.board import Board
from etab.results import Predictions, Result
from etab.results.masks import masks_path, read_masks
from etab.site.phantom_data import phantom_source
from etab.site.sound_examples import SoundExample, draw_sounds
from etab.tasks.codes import parse_code
from etab.tasks.menu import TASKS
from etab.types import Array, Kind

TRUE_COLOUR = (64, 156, 255)
PREDICTED_COLOUR = (255, 196, 0)
# Width and height of a clip in pixels at most, and how long a frame with contours is shown.
_SIDE = 320
_HELD_MS = 800
# A clip that moved for longer than 5 s would need a pause button.
_LOOPS = 2
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Example:
    """One recording of one task as a page shows it.

    Attributes:
        task: Code of the task.
        case: "best", "median" or "worst".
        recording: Name of the recording.
        dice: Mean Dice overlap of its frames with stored masks, 0 to 1.
        clip: An animated WebP picture.
        size: Height and width of the clip in pixels.
        moves: Whether the clip has more than one picture.
        is_whole: Whether it shows the whole recording; else the data hold single frames of it.
        frames: Numbers of the frames with contours, counted from 0.
    """

    task: str
    case: str
    recording: str
    dice: float
    clip: bytes
    size: tuple[int, int]
    moves: bool
    is_whole: bool
    frames: tuple[int, ...]


# Examples of each backbone, by its name.
Drawn = dict[str, list[Example | SoundExample]]


def draw_examples(
    board: Board,
    folder: Path,
    root: Path | None,
    made: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Drawn:
    """Draw the best, the median and the worst recording of each task of masks or of states.

    Recordings are sorted by the mean Dice overlap of their frames whose masks lie beside the
    result; ties go by name. Each mask is compared with the authors' mask before it is drawn. For
    heart sounds see ``etab.site.sound_examples``.

    Args:
        board: The board, with its tables.
        folder: The folder of results, with masks beside the records.
        root: Folder of the dataset, or one that holds a folder of its name. None tries the
            documented places; the data of a phantom board are also looked for beside the results,
            or made anew (``etab.site.phantom_data``).
        made: A folder in which phantoms are made; None makes them in a temporary one.
        progress: Called with (patients made, patients in all) while a phantom is made.

    Returns:
        The examples by the name of the backbone; none for masks that are not stored.

    Raises:
        DataNotFoundError: If there is no folder of the data; a phantom board then has no examples.
        ResultError: If the masks do not give the overlaps that a result states: the data at hand
            are others.
    """
    drawn: Drawn = {}
    with tempfile.TemporaryDirectory(prefix="etab-phantom-") as own:
        sources = _Sources(board, folder, root, made or Path(own), progress)
        for row in board.rows:
            for code, cell in row.cells.items():
                if not _has_examples(cell, folder):
                    continue
                source = sources.of(parse_code(code).test_dataset)
                if source is None:
                    continue
                table = board.tables[row.backbone, code]
                examples = _examples_of(cell, table, folder, source)
                drawn.setdefault(row.backbone, []).extend(examples)
    return drawn


def _has_examples(cell: Result, folder: Path) -> bool:
    """Whether a cell is of states, or of masks that lie beside its record."""
    kind = TASKS[cell.task].kind
    return kind is Kind.STATES or (kind is Kind.MASK and kept_masks(cell, folder) != "none")


class _Sources:
    """The data of a board, each dataset opened once."""

    def __init__(
        self,
        board: Board,
        folder: Path,
        root: Path | None,
        made: Path,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.board = board
        self.folder = folder
        self.root = root
        self.made = made
        self.progress = progress
        self.opened: dict[str, Source | None] = {}

    def of(self, name: str) -> Source | None:
        """The data of a name; None if the phantom of a board cannot be found or made."""
        if name not in self.opened:
            self.opened[name] = self._open(name)
        return self.opened[name]

    def _open(self, name: str) -> Source | None:
        if self.root is not None or not self.board.phantom:
            return datasets.source(name, _root_of(self.root, name))
        cells = [cell for row in self.board.rows for cell in row.cells.values()]
        of_dataset = [cell for cell in cells if parse_code(cell.task).test_dataset == name]
        return phantom_source(name, of_dataset, self.folder, self.made / name, self.progress)


def _examples_of(
    cell: Result, table: Predictions, folder: Path, source: Source
) -> Sequence[Example | SoundExample]:
    """The three examples of a cell."""
    if isinstance(source, SoundSource):
        return draw_sounds(cell, table, source, folder)
    keep = kept_masks(cell, folder)
    rows = rows_with_masks(table, keep)
    masks = list(read_masks(masks_path(cell.path(folder), keep), len(rows)))
    return _of_cell(cell, _by_recording(table, rows, masks), source)


def _root_of(root: Path | None, dataset: str) -> Path | None:
    if root is not None and (root / dataset).is_dir():
        return root / dataset
    return root


@dataclass(frozen=True, slots=True)
class _Shown:
    """The stored frames of a recording: predicted mask and stated overlap by frame number."""

    masks: Mapping[int, Array]
    dices: Mapping[int, float]

    @property
    def dice(self) -> float:
        return float(np.mean(list(self.dices.values())))


def _by_recording(
    table: Predictions, places: Sequence[int], masks: Sequence[Array]
) -> dict[str, _Shown]:
    """Stored frames by recording. A frame that several repeats predict counts in the first one."""
    shown: dict[str, _Shown] = {}
    for place, mask in zip(places, masks, strict=True):
        recording, _, number = table.items[place].rpartition("#")
        if not number.isdigit():
            continue  # not one frame, so not what a clip can show
        frames = shown.setdefault(recording, _Shown({}, {}))
        if int(number) not in frames.masks:
            dict_of_masks = {**frames.masks, int(number): mask}
            dice = float(table.columns["dice"][place])
            shown[recording] = _Shown(dict_of_masks, {**frames.dices, int(number): dice})
    return shown


def _of_cell(cell: Result, shown: Mapping[str, _Shown], source: Source) -> list[Example]:
    ordered = sorted(shown, key=lambda name: (-shown[name].dice, name))
    if not ordered:
        return []
    cases = {"best": 0, "median": (len(ordered) - 1) // 2, "worst": len(ordered) - 1}
    examples: list[Example] = []
    for case, place in cases.items():
        name = ordered[place]
        pictures, durations, is_clip = _frames(cell, name, shown[name], source)
        example = Example(
            task=cell.task,
            case=case,
            recording=name,
            dice=shown[name].dice,
            clip=_webp(pictures, durations),
            size=pictures[0].shape[:2],
            moves=len(pictures) > 1,
            is_whole=is_clip,
            frames=tuple(sorted(shown[name].masks)),
        )
        examples.append(example)
    return examples


def _frames(
    cell: Result, recording: str, shown: _Shown, source: Source
) -> tuple[list[Array], list[int], bool]:
    """Pictures of a recording, how long each is shown in ms, and whether they are a whole clip.

    All frames follow each other at the recording's own rate; those with masks are held for longer.
    A clip that ends on a frame without masks goes back to the first one with masks, so that the
    contours are seen when it has come to rest.
    """
    known = {record.id: record for record in source.records()}
    if recording not in known:
        raise ResultError(f"{recording} of {cell.task} is not a recording of the data at hand.")
    record = known[recording]
    target = source.card.target(TASKS[cell.task].target)
    truth = {answer.at: np.asarray(answer.value) for answer in source.answers(record, target)}
    for number, mask in shown.masks.items():
        _check(cell, f"{recording}#{number}", mask, truth.get(number), shown.dices[number])
    is_clip = record.fps is not None and not source.still(record)
    frames = source.frames(record, None if is_clip else sorted(shown.masks))
    numbers = list(range(len(frames))) if is_clip else sorted(shown.masks)
    between = round(1000 / record.fps) if record.fps else _HELD_MS
    pictures = []
    durations = []
    for number, frame in zip(numbers, frames, strict=True):
        predicted = shown.masks.get(number)
        pictures.append(_picture(frame, truth.get(number), predicted))
        durations.append(between if predicted is None else _HELD_MS)
    if shown.masks and numbers[-1] not in shown.masks:
        pictures.append(pictures[numbers.index(min(shown.masks))])
        durations.append(between)
    return pictures, durations, is_clip


def _check(cell: Result, item: str, mask: Array, truth: Array | None, stated: float) -> None:
    """Refuse data whose masks do not give the overlap that the result states."""
    dice = float("nan")
    if truth is not None and truth.shape == mask.shape:
        total = int(mask.sum()) + int(truth.sum())
        dice = 2 * int((mask & truth).sum()) / total if total else 1.0
    if not abs(dice - stated) <= _TOLERANCE:
        raise ResultError(
            f"{cell.task} with {cell.backbone} states a Dice overlap of {stated:.4f} for {item}; "
            f"the data at hand give {dice:.4f}. Name the folder of the data that the results are "
            "of with --root."
        )


def _picture(frame: Array, truth: Array | None, mask: Array | None) -> Array:
    """A frame of at most 320 pixels a side with the true contour, and the predicted one over it."""
    import cv2

    scale = _SIDE / max(frame.shape)
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    picture = cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_GRAY2RGB)
    for outline, colour in ((truth, TRUE_COLOUR), (mask, PREDICTED_COLOUR)):
        if outline is None or mask is None:
            continue
        large = cv2.resize(outline.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        edges, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, edges, -1, colour, 1, cv2.LINE_AA)
    return np.asarray(picture)


def _webp(pictures: Sequence[Array], durations: Sequence[int]) -> bytes:
    """Pictures (h, w, 3) as an animation that runs twice."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    out = io.BytesIO()
    images[0].save(
        out,
        format="WEBP",
        save_all=True,
        append_images=images[1:],
        duration=list(durations),
        loop=_LOOPS,
        quality=70,
    )
    return out.getvalue()
