"""The catalogue of EchoXFlow (``croissant.json``), its folds, and the manifest of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab.datasets.objects import object_path
from etab.echo.beamspace import SectorGeometry
from etab.errors import CorruptFileError
from etab.readers.table import parse_whole, read_table
from etab.readers.text import read_json

CATALOGUE = "croissant.json"
FOLDS = ("splits.csv", "five_fold_split.csv")
LV_STRAIN = "2d_left_ventricular_strain"
_BMODE = "data/2d_brightness_mode"
_HINT = "Download it again."
_ROLES = {"2ch": "A2C", "3ch": "A3C", "4ch": "A4C"}


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """A recording of the catalogue.

    Attributes:
        name: Its identifier.
        exam: The examination.
        path: The Zarr store, relative to the root.
        content_types: What it holds, such as "2d_left_ventricular_strain".
        arrays: The paths of its arrays.
    """

    name: str
    exam: str
    path: str
    content_types: tuple[str, ...]
    arrays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The recordings of a release, and the sha256 of their arrays.

    Attributes:
        recordings: Recordings by identifier.
        digests: The sha256 by recording and array; arrays without one are absent.
    """

    recordings: Mapping[str, StoredRecording]
    digests: Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Panel:
    """A view that a strain recording annotates.

    Attributes:
        role: "2ch", "3ch" or "4ch".
        view: "A2C", "A3C" or "A4C".
        source: Identifier of the recording with the B-mode frames.
        frames: Array of the frames (t, depths, angles) in ``source``.
        times: Array of their times in ``source``; "" if there is none.
        contour: Array of the contour points (k, n, 2) in metres.
        contour_times: Array of the times of the contours; "" if there is none.
        geometry: The sector of the frames.
    """

    role: str
    view: str
    source: str
    frames: str
    times: str
    contour: str
    contour_times: str
    geometry: SectorGeometry


def read_catalogue(path: Path) -> Catalogue:
    """Read croissant.json.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: It is not such a catalogue, or a recording is there twice.
    """
    whole = read_json(path, _HINT)
    parts = whole.get("recordSet") if isinstance(whole, dict) else None
    sets = {
        str(part.get("@id")): part["data"]
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and isinstance(part.get("data"), list)
    }
    rows = sets.get("recordings")
    if rows is None:
        raise CorruptFileError(
            f"{path} is not a catalogue of EchoXFlow: wanted a recordSet 'recordings' with data. "
            f"{_HINT}"
        )
    recordings: dict[str, StoredRecording] = {}
    for row in rows:
        item = _recording(path, row)
        if item.name in recordings:
            raise CorruptFileError(f"{path} lists the recording {item.name} twice. {_HINT}")
        recordings[item.name] = item
    digests: dict[tuple[str, str], str] = {}
    for row in sets.get("arrays", ()):
        if isinstance(row, dict) and row.get("arrays/data_sha256"):
            key = (str(row.get("arrays/recording_id")), _data(str(row.get("arrays/array_path"))))
            digests[key] = _sha256(path, key, row["arrays/data_sha256"])
    return Catalogue(recordings, digests)


def _sha256(path: Path, key: tuple[str, str], value: Any) -> str:
    """The digest of an array in small letters; CorruptFileError where it is none."""
    text = value.strip().lower() if isinstance(value, str) else ""
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        recording, array = key
        raise CorruptFileError(
            f"{path}: the data_sha256 of {array} of {recording} is {str(value)[:80]!r}; wanted 64 "
            f"hexadecimal digits. {_HINT}"
        )
    return text


def _recording(path: Path, row: Any) -> StoredRecording:
    """Make the recording of a row; CorruptFileError where it lacks a field."""
    fields = row if isinstance(row, dict) else {}
    texts = []
    for name in ("recording_id", "exam_id", "zarr_path"):
        text = fields.get(f"recordings/{name}")
        if not isinstance(text, str) or not text.strip():
            raise CorruptFileError(f"{path}: a recording has no {name}. {_HINT}")
        texts.append(text.strip())
    recording, exam, store = texts
    lists = [fields.get(f"recordings/{name}") for name in ("content_types", "array_paths")]
    if not all(isinstance(each, list | None) for each in lists):
        raise CorruptFileError(f"{path}: content_types or array_paths is not a list. {_HINT}")
    return StoredRecording(
        recording,
        exam,
        object_path(path, recording, store),
        tuple(map(str, lists[0] or ())),
        tuple(map(str, lists[1] or ())),
    )


def read_folds(path: Path) -> dict[str, int]:
    """Read the fold of each examination.

    Raises:
        CorruptFileError: A column is absent, a fold is not a whole number, or an examination has
            two.
    """
    folds: dict[str, int] = {}
    for row in read_table(path, ("exam_id", "five_fold_split")):
        exam = row["exam_id"]
        fold = parse_whole(row["five_fold_split"])
        if not exam or fold is None or fold < 0:
            raise CorruptFileError(
                f"{path}: examination {exam[:80]!r} has the fold {row['five_fold_split'][:20]!r}; "
                f"wanted a whole number. {_HINT}"
            )
        if folds.setdefault(exam, fold) != fold:
            raise CorruptFileError(f"{path}: {exam} is in the folds {folds[exam]} and {fold}.")
    return folds


def read_panels(
    store: Path,
    owner: str,
    attributes: Mapping[str, Any],
) -> list[Panel]:
    """List the apical views whose left ventricle a strain recording outlines.

    Args:
        store: The Zarr store, for messages.
        owner: The identifier of the recording.
        attributes: The attributes of the store; "recording_manifest" is read.

    Raises:
        CorruptFileError: The manifest has another form.
    """
    manifest = attributes.get("recording_manifest")
    if not isinstance(manifest, dict):
        raise CorruptFileError(f"{store} has no recording_manifest in its attributes. {_HINT}")
    panels: list[Panel] = []
    try:
        for item in manifest.get("linked_panels") or ():
            role = _role(item)
            if role not in _ROLES:
                continue
            outline = _contour(manifest, role)
            if outline is not None:
                panels.append(_panel(item, role, outline, owner))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFileError(
            f"{store}: its recording_manifest has no {error} where a panel needs it. {_HINT}"
        ) from error
    return panels


def _role(item: Mapping[str, Any]) -> str:
    text = str(item.get("role_id") or item.get("semantic_id") or item.get("view_code") or "")
    return text.strip().lower().replace("_", "").replace("chamber", "ch")


def _contour(manifest: Mapping[str, Any], role: str) -> tuple[str, str] | None:
    """Find the arrays of the contour of a role and of its times; None if it has none."""
    for item in manifest.get("annotations") or ():
        target = item["target"]
        value = _array(item["value"])
        if str(target.get("semantic_id") or "").lower() != role:
            continue
        if "contour" in str(target.get("field") or "") or value.endswith("_contour"):
            return value, _array(item["time"]) if item.get("time") else ""
    return None


def _panel(
    item: Mapping[str, Any],
    role: str,
    outline: tuple[str, str],
    owner: str,
) -> Panel:
    linked = item["linked_recording"]
    times = item.get("frame_timestamps")
    path = _array(times) if times else str(linked.get("timestamps_array_path") or "").strip("/")
    return Panel(
        role,
        _ROLES[role],
        str(linked.get("recording_id") or owner),
        _data(str(linked.get("frames_array_path") or _BMODE)),
        path,
        *outline,
        _geometry(item["geometry"]),
    )


def _array(value: Mapping[str, Any]) -> str:
    for key in ("array_path", "zarr_path", "path"):
        if value.get(key):
            return str(value[key]).strip("/")
    raise KeyError("array_path")


def _data(name: str) -> str:
    path = name.strip("/")
    return path if path.startswith(("data/", "timestamps/")) else f"data/{path}"


def _geometry(value: Mapping[str, Any]) -> SectorGeometry:
    """Read a sector: its ends, or its centre and width."""
    depth = (_number(value, "depth_start_m"), _number(value, "depth_end_m"))
    if "angle_start_rad" in value:
        angle = (_number(value, "angle_start_rad"), _number(value, "angle_end_rad"))
    else:
        half = _number(value, "width_rad") / 2
        tilt = float(value.get("tilt_rad") or 0)
        angle = (tilt - half, tilt + half)
    if not (0 <= depth[0] < depth[1] < 1 and -2 < angle[0] < angle[1] < 2):
        raise ValueError("plausible sector")
    return SectorGeometry(depth, angle)


def _number(value: Mapping[str, Any], key: str) -> float:
    """Read a number; depths and widths are also spelled as on scanners (DepthStart, Width)."""
    spelled = "".join(part.title() for part in key.split("_")[:-1])
    return float(value[key] if key in value else value[spelled])
