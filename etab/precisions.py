"""Names of the precisions: a number format, and the backend that computes a network in it.

"fp32" and "bf16" are plain torch. "fp32-openvino" is the same network computed by OpenVINO: its
features differ in the last bits, so that the name is part of the key of the features and of every
result.
"""

from __future__ import annotations

from collections.abc import Mapping

from etab.errors import UnsupportedOptionError

FORMATS = ("fp32", "bf16")
"""The precisions of plain torch, which boards compare with each other."""

BACKENDS: Mapping[str, tuple[str, ...]] = {
    "fused": ("fp32", "bf16"),
    "compile": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16"),
    "onnx": ("fp32",),
}
"""The number formats of each backend. "fused" is plain torch with every batch-norm multiplied into
the convolution before it, "compile" is ``torch.compile``, and "onnx" is ONNX Runtime."""

NAMED = (
    *FORMATS,
    *(f"{number}-{backend}" for backend, formats in BACKENDS.items() for number in formats),
)
"""Every precision that features can have."""

AUTO = "auto"
"""Stands for bf16 where the hardware computes in it, else fp32."""

FASTEST = "fastest"
"""Stands for the precision that a backbone is fastest in, of those whose features agree with fp32,
as ``etab.features.calibration`` measures it."""


def parts(precision: str) -> tuple[str, str]:
    """Divide the name of a precision.

    Args:
        precision: One of ``NAMED``.

    Returns:
        The number format, and the backend: "" for plain torch.

    Raises:
        UnsupportedOptionError: There is no such precision.

    Example:
        >>> parts("bf16-openvino")
        ('bf16', 'openvino')
    """
    if precision not in NAMED:
        raise UnsupportedOptionError(
            f"No precision is called {precision!r}. Known: {', '.join(NAMED)}."
        )
    number, _, backend = precision.partition("-")
    return number, backend


def refuse_backend(name: str, precision: str) -> None:
    """Refuse a precision with a backend for a backbone that no backend can compute.

    Args:
        name: Name of the backbone.
        precision: One of ``NAMED``.

    Raises:
        UnsupportedOptionError: The precision has a backend.
    """
    number, backend = parts(precision)
    if backend:
        raise UnsupportedOptionError(
            f"--precision {precision}: {backend} computes torch networks of frames, and {name} is "
            f"none. Take --precision {number}."
        )
