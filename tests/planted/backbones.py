"""Faults of the taps of image networks, and of the weights that people bring."""

from tests.faults import Fault

_TAPS = "etab/backbones/image/taps.py"
_FIT = "etab/backbones/weights/fit.py"


def _fit(test: str) -> tuple[str, ...]:
    return (f"tests/backbones/test_weights_fit.py::{test}",)


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
    Fault(
        "weights: the student is taken",
        _FIT,
        "top = max(_rank(fitted)",
        "top = min(_rank(fitted)",
        _fit("test_checkpoints_of_trainers_load"),
    ),
    Fault(
        "weights: layers that are missing pass",
        _FIT,
        "missing = [k for k in absent if k not in head]",
        "missing: list[str] = []",
        _fit("test_what_does_not_fit_is_refused_with_the_keys"),
    ),
    Fault(
        "weights: the layers of a deeper network are a head",
        _FIT,
        "if top in tops and top not in _CLASSIFIERS:",
        "if True:\n        return True\n    if False:",
        _fit("test_what_does_not_fit_is_refused_with_the_keys"),
    ),
    Fault(
        "weights: the first of two networks is taken",
        _FIT,
        "if any(not _same(best[0], other) for other in best[1:]):",
        "if False:",
        _fit("test_what_does_not_fit_is_refused_with_the_keys"),
    ),
    Fault(
        "weights: what a compiler inserts stays",
        _FIT,
        'return {_INSERTED.sub("", key): value',
        "return {key: value",
        _fit("test_checkpoints_of_trainers_load"),
    ),
    Fault(
        "weights: an unused head keeps random numbers",
        _FIT,
        "state[key] = initial[key] * 0",
        "state[key] = initial[key].double().normal_().to(initial[key])",
        _fit("test_heads_are_not_needed"),
    ),
    Fault(
        "backbones: one faulty row breaks every list",
        "etab/backbones/__init__.py",
        "except Exception as error:  # a maker may be of any author",
        "except ZeroDivisionError as error:",
        ("tests/backbones/test_registered.py",),
    ),
    Fault(
        "backbones: a faulty one is left out in silence",
        "etab/runs/sweep.py",
        "for name, fault in faults.items():",
        "for name, fault in ():",
        ("tests/backbones/test_registered.py",),
    ),
    Fault(
        "backbones: a twin that nobody made is the backbone itself",
        "etab/backbones/registered.py",
        "if seed is not None:",
        "if False:",
        ("tests/backbones/test_registered.py",),
    ),
]
