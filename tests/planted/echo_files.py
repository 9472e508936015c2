"""Faults of echo files as people's tools write them: ranges, colour, orientation, names, optional facts."""

from tests.faults import Fault

LISTING = ("tests/storage/test_listing.py",)
VOLUMES = ("tests/readers/test_volume_kinds.py",)
GEOMETRY, NIFTI = "etab/readers/geometry.py", "etab/readers/nifti.py"
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
        "if is_unit_range and has_fractions:",
        "if False:",
        VOLUMES,
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
        'raise corrupt(path, "its header has ElementDataFile twice")',
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
]
