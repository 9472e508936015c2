"""The contract of a dataset, as a test for your own: ``check_dataset(MySource, root)``."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etab.datasets.base import SOURCES, SoundSource, Source
from etab.datasets.dataset import Dataset
from etab.echo.views import CANONICAL
from etab.errors import (
    DataNotFoundError,
    EtabError,
    LayoutError,
    SplitError,
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.sounds.states import STATE_RATE
from etab.splits import SPLIT_PARTS, check_leaks
from etab.types import Answer, Array, Kind, Record, Target

# Number of recordings that are read in full.
_READ_IN_FULL = 8


def check_dataset(
    source_cls: type[Source],
    root: Path,
    *,
    scratch: Path | None = None,
) -> None:
    """Check a source against the contract that runs rely on.

    The records of all recordings are checked, and up to 8 recordings are read in full. Nothing in
    ``root`` is changed.

    Args:
        source_cls: The class of the source.
        root: A folder of its data: real data, or a phantom in the published layout.
        scratch: An empty folder, for small data only. The data are copied to it, and each file is
            deleted in turn: an error must then name the file, unless it is not needed.

    Raises:
        AssertionError: A point of the contract is not met; the message names it.

    Example:
        >>> import tempfile
        >>> from etab import phantom
        >>> from etab.datasets import CamusSource
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     phantom.write(Path(folder), patients=10, seed=0, names=["camus"])
        ...     check_dataset(CamusSource, Path(folder) / "camus")
    """
    source = source_cls(root)
    records = source.records()
    _check_card(source)
    _check_records(source, records)
    last = len(records) - 1
    count = min(_READ_IN_FULL, len(records))
    evenly = np.linspace(0, last, count)
    chosen = [records[int(i)] for i in evenly]
    for record in chosen:
        if isinstance(source, SoundSource):
            _check_wave(source, record)
        else:
            _check_frames(source, record)
        for target in source.card.targets:
            _check_answers(source, record, target)
    for target in source.card.targets:
        assert any(source.answers(record, target) for record in records), (
            f"no recording has a value of {target.name!r}; drop the target"
        )
    _check_refusals(source_cls, source)
    _check_twice(source_cls, source, chosen)
    name = source.card.name
    is_registered = name in SOURCES and SOURCES[name] is source_cls
    if is_registered:
        _check_dataset_options(source)
    if scratch is not None:
        _check_deletions(source_cls, source.root, scratch)


def _check_dataset_options(source: Source) -> None:
    """Check the options of ``Dataset`` for each target of a registered source."""
    for target in source.card.targets:
        if isinstance(source, SoundSource):
            _check_sound_options(source, target.name)
        else:
            _check_options(source, target.name)


def _check_card(source: Source) -> None:
    """Check that the card is complete and its targets are well defined."""
    card = source.card
    for field in ("name", "title", "code", "modality", "licence", "citation", "access"):
        assert getattr(card, field), f"the card has no {field}"
    names = [target.name for target in card.targets]
    assert len(set(names)) == len(names), f"two targets share a name: {names}"
    if card.modality == "echo":
        assert set(card.views) <= set(CANONICAL), f"views {card.views} are not among {CANONICAL}"
    for target in card.targets:
        if target.kind in (Kind.BINARY, Kind.CLASSES):
            assert len(target.classes) >= 2, f"{target.name} names fewer than two classes"
        if target.kind is Kind.BINARY:
            assert len(target.classes) == 2, (
                f"{target.name} is binary with {len(target.classes)} classes"
            )
        if target.cut is not None:
            assert target.kind is Kind.BINARY, f"{target.name} is cut and has no two classes"
            cut = card.target(target.cut.target)
            assert cut.kind is Kind.VALUE, f"{target.name} is cut from {cut.name!r}, no value"


def _check_records(source: Source, records: Sequence[Record]) -> None:
    """Check the records, and that they are the same in the next call."""
    rows = list(source.records())
    assert rows, "no recordings"
    assert list(records) == rows, "records() differ from one call to the next"
    ids = [record.id for record in rows]
    assert len(set(ids)) == len(ids), "two recordings share an id"
    check_leaks(rows)
    for record in rows:
        assert record.view in source.card.views, (
            f"{record.id}: view {record.view!r} is not on the card"
        )
        assert record.split in (*SPLIT_PARTS, ""), f"{record.id}: split {record.split!r}"
        assert record.patient, f"{record.id} has no patient"
        assert record.fps is None or record.fps > 0, f"{record.id}: fps {record.fps}"
        assert not any(Path(name).is_absolute() for name in record.files.values()), (
            f"{record.id}: absolute path"
        )


def _check_frames(source: Source, record: Record) -> None:
    """Check the frames of a recording: type, shape, order, spacing, and the ends."""
    frames = source.frames(record)
    n = source.n_frames(record)
    assert frames.dtype == np.uint8, f"{record.id}: frames are {frames.dtype}, wanted uint8"
    assert frames.ndim == 3, f"{record.id}: frames have shape {frames.shape}, wanted (k, h, w)"
    assert len(frames) == n, f"{record.id}: {len(frames)} frames, n_frames is {n}"
    assert np.array_equal(source.frames(record), frames), f"{record.id}: two readings differ"
    last_and_first = [n - 1, 0]
    assert np.array_equal(source.frames(record, last_and_first), frames[last_and_first]), (
        f"{record.id}: at={last_and_first} gives other frames"
    )
    spacing = source.spacing(record)
    assert spacing is None or all(0 < s < 10 for s in spacing), f"{record.id}: spacing {spacing} mm"
    for outside in (n, -1):
        try:
            source.frames(record, [outside])
        except EtabError:
            continue
        raise AssertionError(f"{record.id}: frame {outside} of {n} is returned")


def _check_wave(source: SoundSource, record: Record) -> None:
    """Check the waveform of a recording: type, shape, rate and scale."""
    samples, rate = source.wave(record)
    assert samples.dtype == np.float32, f"{record.id}: sound is {samples.dtype}, wanted float32"
    assert samples.ndim == 1, f"{record.id}: sound has shape {samples.shape}, wanted (n,)"
    assert len(samples) == source.n_samples(record), (
        f"{record.id}: {len(samples)} samples, n_samples is {source.n_samples(record)}"
    )
    assert rate == record.fps, (
        f"{record.id}: the rate is {rate} Hz, that of the record {record.fps} Hz"
    )
    assert float(np.abs(samples).max()) <= 1, f"{record.id}: sound beyond full scale"
    assert np.array_equal(source.wave(record)[0], samples), f"{record.id}: two readings differ"
    assert _refused(lambda: source.frames(record)), f"{record.id}: sound has frames"
    assert _refused(lambda: source.n_frames(record)), f"{record.id}: sound has a number of frames"


def _refused(action: Callable[[], object]) -> bool:
    """Whether an action raises UnsupportedOptionError."""
    try:
        action()
    except UnsupportedOptionError:
        return True
    return False


def _check_answers(source: Source, record: Record, target: Target) -> None:
    """Check the answers of a recording for one target, all and frame by frame."""
    answers = source.answers(record, target)
    marked = [answer.at for answer in answers]
    what = f"{record.id}, {target.name}"
    assert tuple(marked) == tuple(source.annotated(record, target)), (
        f"{what}: annotated() and answers() differ"
    )
    if target.cut is not None:
        values = source.answers(record, source.card.target(target.cut.target))
        expected = [(answer.at, int(answer.value < target.cut.below)) for answer in values]
        found = [(answer.at, answer.value) for answer in answers]
        assert found == expected, (
            f"{what}: classes {found}, but its values of {target.cut.target} give {expected}"
        )
    framed = [at for at in marked if at is not None]
    assert framed == sorted(set(framed)), (
        f"{what}: answers are not in frame order, one for each frame: {marked}"
    )
    n = 0 if isinstance(source, SoundSource) else source.n_frames(record)
    exists = [0 <= at < n for at in framed]
    assert all(exists), f"{what}: answers of frames that do not exist"
    for answer in answers:
        _check_value(source, record, target, answer)
        if answer.at is not None:
            again = source.answers(record, target, [answer.at])
            frames = [one.at for one in again]
            assert frames == [answer.at], f"{what}: at=[{answer.at}] gives {frames}"
            same = np.array_equal(again[0].value, answer.value, equal_nan=True)
            assert same, f"{what}: at=[{answer.at}] gives another answer"


def _check_value(
    source: Source,
    record: Record,
    target: Target,
    answer: Answer,
) -> None:
    """Check the value of one answer by the kind of its target."""
    what = f"{record.id}, {target.name}, frame {answer.at}"
    if target.kind is Kind.MASK:
        assert answer.at is not None, f"{what}: a mask must name its frame"
        shape = source.frames(record, [answer.at])[0].shape
        assert answer.value.dtype == bool, f"{what}: a mask is boolean, not {answer.value.dtype}"
        assert answer.value.shape == shape, f"{what}: mask {answer.value.shape}, frame {shape}"
    elif target.kind in (Kind.BINARY, Kind.CLASSES):
        assert answer.value in range(len(target.classes)), (
            f"{what}: class {answer.value!r} of {target.classes}"
        )
    elif target.kind is Kind.KEYPOINTS:
        _check_keypoints(source, record, answer, what)
    elif target.kind is Kind.STATES:
        _check_states(source, record, target, answer, what)
    elif target.kind is Kind.VALUE:
        assert np.isfinite(answer.value), f"{what}: {answer.value!r} is not a finite number"


def _check_keypoints(
    source: Source,
    record: Record,
    answer: Answer,
    what: str,
) -> None:
    """Check keypoints (k, 2): in the frame, or NaN where they are not annotated."""
    assert answer.at is not None, f"{what}: keypoints must name their frame"
    h, w = source.frames(record, [answer.at])[0].shape
    assert answer.value.ndim == 2, f"{what}: keypoints of shape {answer.value.shape}, wanted (k, 2)"
    is_annotated = np.isfinite(answer.value).all(axis=1)
    points = answer.value[is_annotated]
    assert len(points), f"{what}: no keypoint at all; give no answer instead"
    is_inside = (points >= 0) & (points < (w, h))
    assert is_inside.all(), f"{what}: keypoints outside the frame of {w} x {h}"


def _check_states(
    source: Source,
    record: Record,
    target: Target,
    answer: Answer,
    what: str,
) -> None:
    """Check states at 50 Hz: their number, and that each is a class or -1."""
    assert isinstance(source, SoundSource), f"{what}: states of a recording that is not sound"
    # The number of states is rounded up: the last one may be shorter than 20 ms.
    n_samples = source.n_samples(record)
    rate = int(record.fps or 0)
    k = -(-n_samples * STATE_RATE // rate)
    shape = answer.value.shape
    assert shape == (k,), f"{what}: states of shape {shape}, wanted ({k},) at 50 Hz"
    values = set(answer.value.tolist())
    classes = range(len(target.classes))
    assert values <= {-1, *classes}, f"{what}: {values}"


def _check_refusals(source_cls: type[Source], source: Source) -> None:
    """Check that an unknown target and a missing folder are errors."""
    try:
        source.card.target("no such target")
        source.answers(source.records()[0], Target("no such target", Kind.VALUE))
    except UnknownNameError:
        pass
    else:
        raise AssertionError("a target that does not exist has an answer")
    message = _message_of_refusal(lambda: source_cls(source.root / "no such folder").records())
    assert message is not None, "a folder that does not exist is opened"
    assert "no such folder" in message, f"the error does not name the folder: {message}"


def _message_of_refusal(action: Callable[[], object]) -> str | None:
    """The message of a DataNotFoundError or LayoutError; None where neither is raised."""
    try:
        action()
    except (DataNotFoundError, LayoutError) as error:
        return str(error)
    return None


def _check_twice(
    source_cls: type[Source],
    source: Source,
    chosen: list[Record],
) -> None:
    """Check that a second source, and a pickled copy, read the same data as the first."""
    other = source_cls(source.root)
    assert list(other.records()) == list(source.records()), (
        "two sources of one tree list different recordings"
    )
    assert other.digest() == source.digest(), "two sources of one tree have different digests"
    assert other.phantom == source.phantom, "two sources of one tree disagree on phantom"
    copy = pickle.loads(pickle.dumps(source))
    for record in chosen[:2]:
        assert np.array_equal(_signal(copy, record), _signal(source, record)), (
            "a pickled source reads different data"
        )


def _signal(source: Source, record: Record) -> Array:
    """All frames or samples of a recording."""
    return source.wave(record)[0] if isinstance(source, SoundSource) else source.frames(record)


def _check_sound_options(source: SoundSource, target: str) -> None:
    """Check that each option of ``Dataset`` has an effect or is refused."""
    name = source.card.name
    rate = int(source.card.fps or 0)
    annotated = source.card.target(target)
    first = next(record for record in source.records() if source.annotated(record, annotated))
    # A second more than the first recording, so that padding has an effect.
    length = source.n_samples(first) + rate
    views = [{"view": view} for view in source.card.views] if len(source.card.views) > 1 else []
    common: list[dict[str, Any]] = [
        {"clip_l": length + 80},
        {"fps": rate // 2},
        {"normalize": False},
        {"padding": True},
    ]
    picture_options = [{"frame_l": 48}, {"frame_w": 48}]
    for video, own in ((False, picture_options), (True, [])):
        size = {} if video else {"frame_l": 32, "frame_w": 80}
        base: dict[str, Any] = {
            "root": source.root,
            "video": video,
            "clip_l": length,
            **size,
        }
        plain = _sound_sample(name, target, base)
        assert plain is not None, f"{name}, {target}: video={video} is refused"
        assert plain == _sound_sample(name, target, base), f"{name}, {target}: two readings differ"
        for option in [*common, *own, *views]:
            assert _sound_sample(name, target, base | option) != plain, (
                f"{name}, {target}: {option} changes nothing"
            )
    for wrong in ({"frame_l": 48}, {"frame_w": 48}, {"fps": 0}, {"fps": 0.5}, {"clip_l": 0}):
        assert _sound_sample(name, target, base | wrong) is None, f"{name}: {wrong} passes"


def _sound_sample(
    name: str,
    target: str,
    options: dict[str, Any],
) -> bytes | None:
    """The ids and the first item of a Dataset of sound, as bytes; None if options are refused."""
    try:
        dataset = Dataset(name, target, **options)
    except (UnsupportedOptionError, SplitError):
        return None
    shape: tuple[int, ...] = (options["clip_l"],)
    if not options["video"]:
        shape = (3, options["frame_l"], options["frame_w"])
    return _first_item(dataset, f"{name}, {target}", shape)


def _check_options(source: Source, target: str) -> None:
    """Check that each option of ``Dataset`` has an effect or is refused."""
    base: dict[str, Any] = {
        "frame_l": 32,
        "frame_w": 80,
        "root": source.root,
    }
    name = source.card.name
    plain = _picture_sample(name, target, base)
    assert plain is not None, f"{name}, {target}: plain stills are refused"
    assert plain == _picture_sample(name, target, base), f"{name}, {target}: two readings differ"
    of_target = source.card.target(target)
    annotated = [record for record in source.records() if source.annotated(record, of_target)]
    # A release may hold, or annotate, fewer views than the card names.
    present = {record.view for record in annotated}
    views = [{"view": view} for view in source.card.views if present != {view}]
    parts = {record.split for record in annotated}
    splits = [{"split": split} for split in sorted(parts - {""})]
    sizes: list[dict[str, Any]] = [
        {"frame_l": 48},
        {"frame_w": 48},
        {"normalize": False},
        {"padding": True},
    ]
    options: list[dict[str, Any]] = [*sizes, *views, {"video": True, "clip_l": 24}]
    if len(parts) > 1:
        options += splits
    for option in options:
        assert _picture_sample(name, target, base | option) != plain, (
            f"{name}, {target}: {option} changes nothing"
        )
    clip = base | {"video": True, "clip_l": 24}
    plain = _picture_sample(name, target, clip)
    if plain is None:  # a dataset of stills has no clips
        return
    for option in ({"clip_l": 25}, {"fps": 7.0}):
        assert _picture_sample(name, target, clip | option) != plain, (
            f"{name}, {target}: {option} changes nothing"
        )


def _picture_sample(
    name: str,
    target: str,
    options: dict[str, Any],
) -> bytes | None:
    """The ids and the first item of a Dataset, as bytes; None if options are refused."""
    try:
        dataset = Dataset(name, target, **options)
    except (UnsupportedOptionError, SplitError):
        return None
    steps = (options["clip_l"],) if options.get("video") else ()
    shape = (*steps, 3, options["frame_l"], options["frame_w"])
    return _first_item(dataset, f"{name}, {target}", shape)


def _first_item(dataset: Dataset, what: str, shape: tuple[int, ...]) -> bytes:
    """The ids and the first item of a Dataset as bytes, once its shape and values are checked."""
    x, y = dataset[0]
    actual = tuple(x.shape)
    assert actual == shape, f"{what}: sample of shape {actual}, wanted {shape}"
    assert bool(x.isfinite().all()), f"{what}: the sample is not finite"
    values = x.numpy().tobytes()
    return pickle.dumps((dataset.data.ids, values, str(y)))


def _read_all(source_cls: type[Source], root: Path) -> None:
    """Read all frames or samples and all answers of a folder of data."""
    source = source_cls(root)
    for record in source.records():
        _signal(source, record)
        for target in source.card.targets:
            source.answers(record, target)


def _check_deletions(
    source_cls: type[Source],
    root: Path,
    scratch: Path,
) -> None:
    """Check in a copy that the error for each missing file names it."""
    copy = scratch / "tree"
    shutil.copytree(root, copy)
    files = [path for path in copy.rglob("*") if path.is_file()]
    for path in sorted(files):
        raw = path.read_bytes()
        path.unlink()
        message = _message_of_refusal(partial(_read_all, source_cls, copy))
        assert message is None or path.name in message, (
            f"without {path.name} the error does not name it: {message}"
        )
        path.write_bytes(raw)
    empty = scratch / "empty"
    empty.mkdir()
    message = _message_of_refusal(lambda: source_cls(empty).records())
    assert message is not None, "an empty folder is opened"
    assert str(empty) in message, f"the error of an empty folder does not name it: {message}"
