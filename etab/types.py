"""Frozen records that travel between layers. They have no behaviour and import nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]

# Mean and standard deviation of the channels of ImageNet, on the scale from 0 to 1.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Kind(StrEnum):
    """What an answer is, which fixes both the shape and the meaning of scores, so that no metric
    ever guesses.

    BINARY     score: (n,) probability of the second class; truth: (n,) in {0, 1}
    CLASSES    score: (n, classes) probabilities that sum to 1; truth: (n,) class indexes
    VALUE      score and truth: (n,) in the target's unit
    MASK       score and truth: boolean (h, w) per frame, in the dataset's own pixels
    STATES     one class a time step
    KEYPOINTS  (k, 2) positions in pixels
    """

    BINARY = "binary"
    CLASSES = "classes"
    VALUE = "value"
    MASK = "mask"
    STATES = "states"
    KEYPOINTS = "keypoints"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a value is cut into two classes: the second class holds the values below ``below``.

    ``target`` is the name of the target that holds the value, in its unit.
    """

    target: str
    below: float


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of a recording: its name in the field's words, its kind, its unit, its classes
    in order, and the value that two classes are cut from, if they are.
    """

    name: str
    kind: Kind
    unit: str = ""
    classes: tuple[str, ...] = ()
    description: str = ""
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A label of the authors, and the frame that it belongs to.

    ``at`` is the frame, counted from 0 in the recording; None means the whole recording.
    """

    value: Any
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One recording of one patient as published: a clip, or the annotated stills of one view.

    ``files`` maps a role ("ED", "ED_gt", "sequence", ...) to a path relative to the root. ``split``
    is the authors' split ("train", "val", "test") or "" where they give none. ``fps`` is None where
    unknown. ``meta`` holds the scalar facts of the recording (quality, sex, age) by the field's
    names.
    """

    id: str
    patient: str
    view: str
    split: str = ""
    fps: float | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of a dataset, internally: a plain ``(x, y)`` tuple is what ``ds[i]`` hands out."""

    x: Any
    y: Any
    id: str
    patient: str


@dataclass(frozen=True, slots=True)
class Features:
    """The features of ``n`` frames by one backbone.

    ``pooled`` maps ``"<layer>/<pooling>"`` to an (n, d) array, in the order the backbone lists
    them. ``maps`` holds (n, c, h, w) feature maps, fine to coarse; empty where the backbone has
    none. ``pca`` maps a pooled key to a number of principal components that the probe must fit on
    its *training rows* before anything else (the pixel control); absent keys are used as they are.
    ``sequences`` maps a key to (n, T, d): what it says of each of T time steps of a clip; empty for
    single frames. Of recordings of sound with ``series``, an object array of layers over time (k_i,
    d) at 50 Hz. ``series`` holds one series (k_i, d) at 50 Hz for each recording of sound: its
    envelopes, the homomorphic one first. None for features without one. Before the rows of a task
    are picked, series and layers are {recording: series}. ``frames`` is the number of frames whose
    pooled features lie side by side in a row, the earlier phase first: 2 for rows of an ED and an
    ES frame. ``sketches`` holds the facts of each pooled key that a sketch has narrowed
    (``etab.features.sketch``).
    """

    pooled: Mapping[str, Any]
    maps: tuple[Any, ...] = ()
    pca: Mapping[str, int] = field(default_factory=dict)
    sequences: Mapping[str, Any] = field(default_factory=dict)
    series: Any = None
    frames: int = 1
    sketches: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the frames."""
        for found in (self.pooled, self.sequences):
            if found:
                return len(next(iter(found.values())))
        if self.series is not None:
            return len(self.series)
        return len(self.maps[0]) if self.maps else 0


@dataclass(frozen=True, slots=True)
class RowSplit:
    """Row indexes of one fit: ``train`` (which includes every inner part), ``test``, and the inner
    validation parts.

    Whatever a head chooses (layer, pooling, penalty, threshold) it chooses by fitting on ``train``
    without one inner part and scoring that part, for each inner part in turn; then it refits on all
    of ``train`` and answers ``test``. Official split: inner = (val,). Cross-validation: inner = the
    other folds. ``repeat`` numbers the division into folds that the split belongs to; it is 0 where
    a protocol divides the patients once.
    """

    train: IntArray
    inner: tuple[IntArray, ...]
    test: IntArray
    name: str = ""
    repeat: int = 0
