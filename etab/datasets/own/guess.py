"""Guesses from names of folders and files: patient, view, part of the split, class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from etab.datasets.own.files import name_without_suffix
from etab.echo.views import aliases
from etab.splits import SPLIT_PARTS, part_of_word

_MASK_ENDING = re.compile(r"[_\-. ](gt|mask|masks|seg|segmentation|label|labels)$", re.IGNORECASE)
_MASK_FOLDERS = ("mask", "masks", "label", "labels", "seg", "segmentation", "segmentations")
_IMAGE_FOLDERS = ("image", "images", "img", "imgs", "frame", "frames", "picture", "pictures")
_BETWEEN = re.compile(r"[_\-. ,;()\[\]]+")
_MOST_CLASSES = 8
_NAMED = 3
_PHASES = {"ED", "ES"}


@dataclass(frozen=True, slots=True)
class Inferred:
    """Facts about the recordings of a folder, guessed from names.

    Attributes:
        patients: Patient of each recording.
        views: View of each recording; "" where its name holds none.
        splits: Part of the split of each recording; empty where no folder is called so.
        classes: Class of each recording; empty where the names do not contain classes.
        remarks: Sentences on what was guessed and has to be checked.
    """

    patients: tuple[str, ...]
    views: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    remarks: tuple[str, ...]


def without_masks(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Tell masks from the pictures that they belong to.

    A mask is called like its picture with ``_gt``, ``_mask``, ``_seg`` or ``_label`` behind, or
    lies in a folder ``masks``, ``labels`` or ``seg`` beside the folder of the pictures.

    Args:
        names: Pictures and masks, relative to the folder.

    Returns:
        (recordings, masks): the names that are not masks, and the mask of each that has one.

    Example:
        >>> without_masks(["p1_ED.png", "p1_ED_gt.png"])
        (['p1_ED.png'], {'p1_ED.png': 'p1_ED_gt.png'})
    """
    pictures = {_picture_key(name): name for name in names if not _is_mask(name)}
    masks: dict[str, str] = {}
    for name in names:
        picture = pictures.get(_picture_key(name)) if _is_mask(name) else None
        if picture is not None:
            masks.setdefault(picture, name)
    taken = set(masks.values())
    return [name for name in names if name not in taken], masks


def _is_mask(name: str) -> bool:
    folders = PurePosixPath(name).parts[:-1]
    in_folder = any(folder.lower() in _MASK_FOLDERS for folder in folders)
    return in_folder or _MASK_ENDING.search(_stem(name)) is not None


def _picture_key(name: str) -> tuple[tuple[str, ...], str]:
    """The key that a picture shares with its mask: folders, and the name without an ending."""
    kinds = (*_MASK_FOLDERS, *_IMAGE_FOLDERS)
    folders = PurePosixPath(name).parts[:-1]
    common = tuple(folder for folder in folders if folder.lower() not in kinds)
    return common, _MASK_ENDING.sub("", _stem(name))


def _stem(name: str) -> str:
    return PurePosixPath(name_without_suffix(name)).name


def infer_from_names(names: Sequence[str]) -> Inferred:
    """Guess what the names of recordings mean.

    Args:
        names: Recordings, relative to the folder.

    Returns:
        What folders and files are called after.
    """
    levels = _levels(names)
    remarks: list[str] = []
    splits = _first(levels, _are_parts)
    classes = _first([level for level in levels if level is not splits], _are_classes)
    others = [level for level in levels if level not in (splits, classes)]
    possible = [level for level in others if _are_patients(level)]
    patients = possible[0] if possible else ()
    if len(possible) > 1:
        remarks.append(
            f"the folders {_first_names(patients)} were taken for patients; correct the column patient if "
            f"folders inside them are ({_first_names(possible[1])})"
        )
    if classes:
        remarks.append(
            f"the folders {_shown(classes)} were taken for classes; correct the columns label and "
            "patient if they are patients"
        )
    else:
        classes = _class_words(names)
        if classes:
            remarks.append(f"classes were inferred from names of files: {_shown(classes)}")
    if not patients:
        patients = tuple(_patient_in(_stem(name)) for name in names)
        if len(set(patients)) == len(names) > 1:
            remarks.append(
                "each file counts as a patient of its own, because the names do not identify patients; "
                "correct the column patient where several files are of one person"
            )
    parts = tuple(part_of_word(word) for word in splits)
    views = tuple(_view_in(name) for name in names)
    return Inferred(patients, views, parts, classes, tuple(remarks))


def _levels(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The folders of each recording at one depth, for each depth that all recordings have."""
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    depth = min((len(parts) for parts in folders), default=0)
    levels = [tuple(parts[level] for parts in folders) for level in range(depth)]
    return [level for level in levels if len(set(level)) > 1]


def _first(
    levels: Sequence[tuple[str, ...]], fits: Callable[[Sequence[str]], bool]
) -> tuple[str, ...]:
    return next((level for level in levels if fits(level)), ())


def _are_parts(words: Sequence[str]) -> bool:
    return all(part_of_word(word) in SPLIT_PARTS for word in words)


def _are_classes(words: Sequence[str]) -> bool:
    """Whether words name classes: few, without digits, of several recordings each."""
    counts = Counter(words)
    few = 2 <= len(counts) <= _MOST_CLASSES and min(counts.values()) > 1
    return few and not any(_has_digit(word) or _is_known(word) for word in counts)


def _are_patients(words: Sequence[str]) -> bool:
    kinds = (*_MASK_FOLDERS, *_IMAGE_FOLDERS)
    return not all(_is_known(word) or word.lower() in kinds for word in words)


def _is_known(word: str) -> bool:
    """Whether a word is a view or a phase."""
    return word.upper() in aliases() or word.upper() in _PHASES


def _has_digit(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def _class_words(names: Sequence[str]) -> tuple[str, ...]:
    """Words of names that are classes: at one place of every name; empty where there are none."""
    words = [_BETWEEN.split(_stem(name)) for name in names]
    if len({len(parts) for parts in words}) != 1:
        return ()
    columns = [tuple(parts[place] for parts in words) for place in range(len(words[0]))]
    return _first(columns, _are_classes)


def _patient_in(stem: str) -> str:
    """The beginning of a name up to its first number: "patient_001" of "patient_001_A4C"."""
    if re.fullmatch(r"[\d.]+", stem):
        return stem
    words = re.split(r"([_\-. ]+)", stem)
    taken = ""
    for place in range(0, len(words), 2):
        word = words[place]
        if _is_known(word):
            continue
        taken += (words[place - 1] if taken else "") + word
        if _has_digit(word):
            return taken
    return stem


def _view_in(name: str) -> str:
    """The view that a file, or else one of its folders, is called after."""
    known = aliases()
    for part in (_stem(name), *reversed(PurePosixPath(name).parts[:-1])):
        for word in _BETWEEN.split(part.upper()):
            if word in known:
                return known[word]
    return ""


def _first_names(words: Sequence[str]) -> str:
    """The first names of many, and how many more there are."""
    names = sorted(set(words))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _shown(words: Sequence[str]) -> str:
    return ", ".join(sorted(set(words)))
