"""Faults of precisions with a backend."""

from tests.faults import Fault

_FILE = "tests/backbones/test_backends.py"
_BACKENDS = "etab/backbones/image/backends.py"
_NETWORKS = "etab/backbones/image/networks.py"
_STORE = "etab/features/store.py"

FAULTS = [
    Fault(
        "a convolution that is called twice is folded",
        _BACKENDS,
        "if calls[pair[0]] == 1 and calls[pair[1]] == 1]",
        "]",
        (f"{_FILE}::test_a_shared_convolution_is_not_folded",),
    ),
    Fault(
        "folding changes the features unnoticed",
        _NETWORKS,
        "if not change <= _FOLDED:",
        "if change < 0:",
        (f"{_FILE}::test_folding_that_cannot_be_done_is_refused",),
    ),
    Fault(
        "a smaller batch is compiled again",
        _BACKENDS,
        "and n <= self._largest:",
        "and n == self._largest:",
        (f"{_FILE}::test_a_smaller_batch_is_filled_up_and_a_larger_one_compiled_again",),
    ),
    Fault(
        "a backend that has no effect is recorded",
        _STORE,
        "        refuse_backend(name, precision)\n    return backbone.to",
        "    return backbone.to",
        (f"{_FILE}::test_a_backbone_that_is_no_torch_network_of_frames_is_refused",),
    ),
    Fault(
        "the version of a backend is not in the key",
        _STORE,
        '    if package is None:\n        return {"precision": precision}\n',
        '    if package is None or package:\n        return {"precision": precision}\n',
        (f"{_FILE}::test_only_a_package_of_its_own_is_named_in_the_key",),
    ),
    Fault(
        "a board ranks any precision",
        "etab/leaderboard/admission/admit.py",
        "if precision in NAMED and precision not in precisions:",
        "if precision in precisions and precision not in precisions:",
        (
            "tests/leaderboard/admission/test_hostile.py::"
            "test_a_precision_with_a_backend_is_ranked_only_where_it_is_named",
        ),
    ),
    Fault(
        "class tokens share the memory of a backend",
        _NETWORKS,
        "token.to(torch.float32, copy=True)",
        "token.to(torch.float32)",
        (f"{_FILE}::test_features_stay_when_a_backend_writes_to_the_same_memory_again",),
    ),
    Fault(
        "a batch that could not be compiled for passes for one that was",
        _BACKENDS,
        "        at_once = min(n, self._rows or n)\n",
        "        at_once = min(n, self._rows or n)\n        self._largest = n\n",
        (f"{_FILE}::test_a_batch_that_could_not_be_compiled_for_is_tried_again",),
    ),
    Fault(
        "each part of a batch is kept as its first",
        _NETWORKS,
        "maps[layer].put(first, grid)",
        "maps[layer].put(0, grid)",
        (f"{_FILE}::test_parts_in_threads_are_the_features_of_plain_torch",),
    ),
    Fault(
        "cells of maps that four does not divide leave the rest out",
        "etab/backbones/maps.py",
        "end = -(-(i + 1) * n // CELLS)",
        "end = (i + 1) * n // CELLS + 1",
        ("tests/backbones/test_maps.py::test_maps_with_channels_side_by_side_are_kept_as_others",),
    ),
    Fault(
        "maps beyond half precision are infinite",
        "etab/backbones/maps.py",
        "return limited(-LARGEST, LARGEST)",
        "return rounded.clone()",
        ("tests/backbones/test_maps.py::test_a_stored_map_is_limited_and_in_memory_of_its_own",),
    ),
    Fault(
        "maps of a network that computes in half precision are limited where they are",
        "etab/backbones/maps.py",
        "limited = rounded.clamp if rounded is grid else rounded.clamp_",
        "limited = rounded.clamp_",
        ("tests/backbones/test_maps.py::test_a_stored_map_is_limited_and_in_memory_of_its_own",),
    ),
]
