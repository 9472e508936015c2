"""Faults of WAV headers: placeholders, byte orders, chunks."""

from tests.faults import Fault

WAV = "etab/readers/audio.py"
TESTS = ("tests/readers/test_audio.py",)

FAULTS = [
    Fault(
        "wav: unknown lengths are promises",
        WAV,
        "unknown = length >= _PLACEHOLDER and",
        "unknown = False and",
        TESTS,
    ),
    Fault(
        "wav: an unfinished header is an empty file",
        WAV,
        "(length == 0 and unfinished)",
        "False",
        TESTS,
    ),
    Fault(
        "wav: a list at the end is sound",
        WAV,
        "return rest if lengths & {rest - 8, rest - 9} else 0",
        "return 0",
        TESTS,
    ),
    Fault(
        "wav: a rate of 1 Hz is a rate of sounds",
        WAV,
        "if not _SLOWEST <= rate <= _FASTEST:",
        "if not 0 < rate:",
        ("tests/datasets/test_bad_sound_trees.py::test_wav_of_the_wrong_sort",),
    ),
    Fault("wav: RIFX is little-endian", WAV, 'b"RIFX": ">"', 'b"RIFX": "<"', TESTS),
    Fault("wav: RF64 is not read", WAV, 'b"RF64": "<"', 'b"RF65": "<"', TESTS),
    Fault(
        "wav: every odd chunk is padded",
        WAV,
        "if file.read(4) not in _KNOWN_CHUNKS:",
        "if True:",
        TESTS,
    ),
    Fault(
        "wav: any identifier is PCM",
        WAV,
        "if len(identifier) < 16 or identifier[4:] != _identifier_end(chunks.order):",
        "if len(identifier) < 4:",
        TESTS,
    ),
    Fault("wav: blocks of any size", WAV, "if block != bits // 8:", "if False:", TESTS),
    Fault(
        "wav: silence of 8 bits is 0",
        WAV,
        "astype(np.float32) - 128)",
        "astype(np.float32))",
        TESTS,
    ),
    Fault(
        "wav: three bytes are the low ones of four",
        WAV,
        "four[:, 1:] = three",
        "four[:, :3] = three",
        TESTS,
    ),
    Fault(
        "wav: whole numbers pass as floating point",
        WAV,
        "if loudest > _LOUDEST:",
        "if False:",
        TESTS,
    ),
    Fault("wav: the last of two sounds", WAV, "if chunks.length is not None:", "if False:", TESTS),
]
