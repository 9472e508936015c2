"""Faults of echo files as people's tools write them: ranges, colour, orientation, names, optional facts."""

from tests.faults import Fault

LISTING = ("tests/storage/test_listing.py",)
VOLUMES = ("tests/readers/test_volume_kinds.py",)
GEOMETRY, NIFTI = "etab/readers/geometry.py", "etab/readers/nifti.py"
DICOM = ("tests/readers/test_dicom_kinds.py",)
VIDEO = ("tests/readers/test_avi_kinds.py",)
AVI, HEADER, OBJECT = "etab/readers/avi.py", "etab/readers/dicom_header.py", "etab/readers/dicom.py"
SOURCE = "etab/datasets/dicom.py"
NEEDED = ("tests/datasets/test_needed_files.py",)
SKIP, CAMUS = "etab/runs/skip_bad.py", "etab/datasets/camus.py"
FOLDERS = ("tests/datasets/test_echo_folders.py",)
META, VOLUME = "etab/readers/metaimage.py", "etab/readers/volume.py"

FAULTS = [
    Fault(
        "hidden files are data",
        "etab/storage/listing.py",
        'return part.startswith(".") or',
        "return",
        LISTING,
    ),
    Fault(
        "fractions are rounded to two levels",
        VOLUME,
        "if is_unit_range and has_fractions and high * _WHITE >= _LEAST_WHITE:",
        "if False:",
        VOLUMES,
    ),
    Fault(
        "fractions far below one are rounded to a few levels",
        VOLUME,
        " and high * _WHITE >= _LEAST_WHITE",
        "",
        VOLUMES,
    ),
    Fault(
        "folders that are no patients are left out silently",
        CAMUS,
        "        if others:\n",
        "        if False:\n",
        ("tests/datasets/test_camus.py::test_folders_that_are_no_patients_are_named",),
    ),
    Fault(
        "control characters of an error reach the terminal",
        "etab/runs/failures.py",
        'text = printable(_COLOURS.sub("", " ".join(words)))',
        'text = " ".join(words)',
        (
            "tests/runs/test_foreign_errors.py"
            "::test_control_characters_of_a_message_do_not_reach_the_terminal",
        ),
    ),
    Fault(
        "a small range of fractions is rounded to a few levels",
        VOLUME,
        "if has_fractions and high < _LEAST_RANGE:",
        "if False:",
        VOLUMES,
    ),
    Fault("a picture of two levels passes", VOLUME, "if high == 1:", "if False:", VOLUMES),
    Fault(
        "a reoriented volume is not turned back",
        GEOMETRY,
        "if self.flip_rows:",
        "if False:",
        VOLUMES,
    ),
    Fault(
        "a transposed volume keeps its spacing",
        GEOMETRY,
        "return (column, row) if orientation.swap else (row, column)",
        "return row, column",
        VOLUMES,
    ),
    Fault(
        "half a turn or none is guessed",
        NIFTI,
        'if orientation.name == "RA" and not affine[:3, 3].any():',
        "if False:",
        VOLUMES,
    ),
    Fault("metres are read as millimetres", NIFTI, "{1: 1000.0, 2", "{1: 1.0, 2", VOLUMES),
    Fault(
        "a placeholder offset is byte 348",
        NIFTI,
        "return _FIRST_PIXEL if",
        "return 348 if",
        VOLUMES,
    ),
    Fault(
        "colour planes are read as frames",
        NIFTI,
        "planes = len(sizes) > 4 and",
        "planes = False and",
        VOLUMES,
    ),
    Fault(
        "a second pixel file is not seen",
        META,
        'raise corrupt_volume(path, "its header has ElementDataFile twice")',
        "pass",
        VOLUMES,
    ),
    Fault(
        "links to pixels may lead out",
        META,
        "if not any(pixels.resolve().is_relative_to(home) for home in homes):",
        "if False:",
        VOLUMES,
    ),
    Fault(
        "the byte order of MetaImage is ignored",
        META,
        '.newbyteorder(">" if big else "<")',
        '.newbyteorder("<")',
        VOLUMES,
    ),
    Fault(
        "a spacing that is not given is 1 mm",
        META,
        "return None\n    return pixel",
        "return 1.0, 1.0\n    return pixel",
        VOLUMES,
    ),
    Fault(
        "an optional fact that does not parse costs the file",
        HEADER,
        "    except FOREIGN:\n        return None",
        "    except ZeroDivisionError:\n        return None",
        DICOM,
    ),
    Fault(
        "a count of frames that is left open is one",
        HEADER,
        'if "NumberOfFrames" not in header:',
        "if True:",
        DICOM,
    ),
    Fault(
        "objects without a preamble are no objects",
        HEADER,
        "or _begins_with_an_element(first)",
        "",
        DICOM,
    ),
    Fault(
        "other files are not named",
        SOURCE,
        'self._left_out.append((name, "not a DICOM',
        'str((name, "not a DICOM',
        DICOM,
    ),
    Fault(
        "a damaged object is another file",
        SOURCE,
        "if PurePosixPath(name).suffix.lower() in _SUFFIXES:",
        "if False:",
        DICOM,
    ),
    Fault(
        "hidden files are objects",
        SOURCE,
        "visible_files(self.root)",
        'sorted(p for p in self.root.rglob("*") if p.is_file())',
        DICOM,
    ),
    Fault(
        "a window is ignored",
        OBJECT,
        "window = readable_fact(lambda: _window(header)) if frame.ndim == 2 else None",
        "window = None",
        DICOM,
    ),
    Fault(
        "levels in too many bits turn black",
        OBJECT,
        "if 0 < int(frame.max()) < _FEWEST_LEVELS << (bits - 8):",
        "if False:",
        DICOM,
    ),
    Fault(
        "a stream of sound is the picture",
        AVI,
        'is_video = block[offset : offset + 4] == b"vids"',
        "is_video = True",
        VIDEO,
    ),
    Fault(
        "a size that is left open is none",
        AVI,
        "if name in _LISTS and size in _OPEN_SIZES:",
        "if False:",
        VIDEO,
    ),
    Fault(
        "the frames are those that come first",
        AVI,
        'return b"%02d" % number if 0 <= number < 100 else b""',
        'return b""',
        VIDEO,
    ),
    Fault(
        "every task of a data set is judged by",
        "etab/runs/data.py",
        "[task for task in all_tasks if task.code in self._codes] or all_tasks",
        "all_tasks",
        NEEDED,
    ),
    Fault(
        "a view that no task needs is a fault",
        SKIP,
        "return any(record.view in task.views for task in tasks)",
        "return True",
        NEEDED,
    ),
    Fault(
        "an absent view is listed",
        CAMUS,
        "return views or self.card.views",
        "return self.card.views",
        NEEDED,
    ),
    Fault(
        "an odd rate costs the recording",
        CAMUS,
        "with suppress(CorruptFileError):",
        "with suppress(KeyError):",
        ("tests/datasets/test_camus.py",),
    ),
    Fault(
        "a table may name a video elsewhere",
        "etab/datasets/videos.py",
        "if len(path.parts) != 1 or",
        "if False and",
        FOLDERS,
    ),
    Fault(
        "the pediatric set needs both views",
        "etab/datasets/pediatric.py",
        "for view in self._views():",
        "for view in VIEWS:",
        FOLDERS,
    ),
    Fault(
        "a folder of hidden files is not empty",
        "etab/datasets/paths.py",
        "if visible(root) else",
        "if next(root.iterdir(), None) else",
        FOLDERS,
    ),
    Fault(
        "the first of several trees is taken",
        "etab/datasets/paths.py",
        "if len(matches) == 1:",
        "if matches:",
        FOLDERS,
    ),
    Fault(
        "hidden pictures are counted",
        "etab/datasets/tmed.py",
        "visible_names(self.root / folder)",
        "frozenset(p.name for p in (self.root / folder).iterdir())",
        FOLDERS,
    ),
    Fault(
        "distances in pixels stand beside others in mm",
        "etab/runs/data.py",
        "if without and len(without) < len(rows.spacing):",
        "if False:",
        NEEDED,
    ),
    Fault(
        "a still rounded to two levels passes",
        "etab/readers/still.py",
        "if decoded.max() == 1:",
        "if False:",
        ("tests/readers/test_still_kinds.py",),
    ),
]
