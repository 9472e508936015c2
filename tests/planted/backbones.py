"""Faults of the taps of image networks, and of the weights that people bring."""

from tests.faults import Fault

_TAPS = "etab/backbones/image/taps.py"


def _taps(test: str) -> tuple[str, ...]:
    return (f"tests/backbones/test_taps.py::{test}",)


FAULTS = [
    Fault(
        "taps: a vision transformer ends before its last block",
        _TAPS,
        "/ (2 * (n - 1))) - 1 for i in range(n)]",
        "/ (2 * (n - 1))) - 2 for i in range(n)]",
        _taps("test_the_deepest_block_decides_the_last_features"),
    ),
    Fault(
        "taps: a Swin transformer is read as maps",
        _TAPS,
        "return output.permute(0, 3, 1, 2), None",
        "return output, None",
        _taps("test_torchvision_is_tapped_across_its_depth"),
    ),
    Fault(
        "taps: layers beyond the last tap pass",
        _TAPS,
        "if len(names) > _LAYERS_AFTER_LAST_TAP:",
        "if False:",
        _taps("test_a_module_whose_maps_end_early_is_refused"),
    ),
]
