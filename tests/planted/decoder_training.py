"""Faults of how decoders on frozen maps are trained."""

from tests.faults import Fault

_FILE = "etab/heads/masks/decoders.py"
_TESTS = ("tests/heads/test_decoder_training.py",)

FAULTS = [
    Fault(
        "the last training of a decoder is cut on the long schedule",
        _FILE,
        "return replace(recipe, epochs=epochs, stop=epochs)",
        "return replace(recipe, stop=epochs)",
        _TESTS,
    ),
    Fault(
        "no rate is tried beyond the largest",
        _FILE,
        '        return float(f"{best * _RATIO:.6g}")\n',
        "        return None\n",
        _TESTS,
    ),
    Fault(
        "the last training of a decoder has the first schedule",
        _FILE,
        "again = ending_at(recipe, done.best_epoch + 1)",
        "again = replace(recipe, stop=done.best_epoch + 1)",
        _TESTS,
    ),
]
