"""Other ways of computing a torch network of frames: folded, compiled, by OpenVINO or ONNX Runtime.

A backend receives the whole way from uint8 frames to pooled features and float16 maps as one torch
module, and returns a function that computes the same. Its results differ from those of plain torch
in the last bits.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from etab.errors import MissingPackageError, UnsupportedOptionError

Compute = Callable[[Tensor], list[Tensor]]
"""Maps a batch to the outputs of a module, each with as many rows."""

Make = Callable[[nn.Module, Tensor, int], Compute]
"""Compiles a module for the shape of an example and a number of threads that call it at once."""

CHANNELS_LAST = ("openvino",)
"""Backends that return maps (n, h, w, c), the order in which they compute. To reorder the maps would
take a sixteenth of the time of a ResNet-50."""

_ROWS = {"openvino": 8}
"""Rows that each thread computes at once. Other backends divide a batch among threads themselves."""


def folded(network: nn.Module, example: Tensor) -> int:
    """Multiply each batch-norm into the convolution whose output it alone normalises.

    Args:
        network: A network in eval mode and float32; it is changed.
        example: An input (n, 3, s, s), which shows what follows each convolution.

    Returns:
        How many batch-norms were folded.
    """
    pairs = _pairs(network, example)
    for convolution, norm in pairs:
        _fold(network, convolution, norm)
    return len(pairs)


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Name each convolution and the batch-norm of its output, if both are called exactly once."""
    producer: dict[int, str] = {}
    held: list[Tensor] = []
    calls: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []

    def after(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            producer[id(output)] = name
            held.append(output)  # while it lives, no other tensor has its id

        return hook

    def before(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            calls[name] = calls.get(name, 0) + 1
            convolution = producer.get(id(inputs[0]))
            if convolution is not None:
                pairs.append((convolution, name))

        return hook

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after(name)))
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            hooks.append(module.register_forward_pre_hook(before(name)))
    try:
        with torch.no_grad():
            network(example)
    finally:
        for handle in hooks:
            handle.remove()
    return [pair for pair in pairs if calls[pair[0]] == 1 and calls[pair[1]] == 1]


def _fold(network: nn.Module, convolution: str, norm: str) -> None:
    of_norm: Any = network.get_submodule(norm)
    of_convolution: Any = network.get_submodule(convolution)
    fused: Any = fuse_conv_bn_eval(of_convolution, of_norm)
    of_convolution.weight = fused.weight.requires_grad_(False)
    of_convolution.bias = fused.bias.requires_grad_(False)
    # Batch-norms of timm also apply the activation that follows them.
    rest = [of_norm.drop, of_norm.act] if hasattr(of_norm, "act") else []
    network.set_submodule(norm, nn.Sequential(*rest))


class Graph:
    """A module compiled by a backend for batches of one size; a smaller batch is padded to it.

    Args:
        module: Maps a batch to a tuple of tensors with as many rows.
        make: Compiles the module.
        rows: Rows that are computed at once, by as many threads as torch has; 0 for a backend that
            divides a batch among threads itself.
    """

    def __init__(self, module: nn.Module, make: Make, rows: int = 0) -> None:
        self._module = module
        self._make = make
        self._rows = rows
        # The rows of the largest batch so far, and the shape of one.
        self._largest = 0
        self._of_row: tuple[int, ...] = ()
        self._compute: Compute = lambda _: []
        self._at_once = 0
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Compute the outputs of a batch.

        Args:
            x: The batch. The module is compiled again if the batch has more rows than any before,
                or images of another shape.

        Returns:
            The outputs. The next call may write to the same memory.
        """
        self._fit(x)
        if len(x) <= self._at_once:
            return self._filled_up(x)
        whole: list[Tensor] = []
        lock = threading.Lock()

        def keep(first: int, outputs: list[Tensor]) -> None:
            with lock:
                if not whole:
                    whole.extend(part.new_empty(len(x), *part.shape[1:]) for part in outputs)
            for target, part in zip(whole, outputs, strict=True):
                target[first : first + len(part)] = part

        self.each(x, keep)
        return whole

    def each(self, x: Tensor, receive: Callable[[int, list[Tensor]], None]) -> None:
        """Compute a batch in parts, and process each part in the thread that computed it.

        Args:
            x: The batch.
            receive: Called with the index of the first row of a part, and the outputs of the part.
                Their memory is reused after the call. Several threads call it at the same time, for
                different rows.
        """
        self._fit(x)

        @torch.inference_mode()
        def compute(first: int) -> None:
            receive(first, self._filled_up(x[first : first + self._at_once]))

        parts = range(0, len(x), self._at_once)
        if self._pool is None or len(parts) == 1:
            for first in parts:
                compute(first)
        else:
            for done in [self._pool.submit(compute, first) for first in parts]:
                done.result()

    def _fit(self, x: Tensor) -> None:
        """Compile the module again if a batch is larger than any before, or has another shape."""
        n = len(x)
        if self._of_row == tuple(x.shape[1:]) and n <= self._largest:
            return
        at_once = min(n, self._rows or n)
        threads = min(torch.get_num_threads(), -(-n // at_once))
        self._compute = self._make(self._module, x[:at_once], threads)
        self._pool = ThreadPoolExecutor(threads, initializer=_alone) if threads > 1 else None
        # Set last: if compiling fails, the next call must try again.
        self._at_once = at_once
        self._largest = n
        self._of_row = tuple(x.shape[1:])

    def _filled_up(self, x: Tensor) -> list[Tensor]:
        n = len(x)
        missing = self._at_once - n
        if missing:
            x = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
        return [output[:n] for output in self._compute(x)]


def _alone() -> None:
    """Limit torch to one thread in this thread, because other threads compute at the same time."""
    from threadpoolctl import threadpool_limits

    # torch sets the number of threads when a Python thread first asks for it: a limit that was set
    # before would be undone.
    torch.get_num_threads()
    threadpool_limits(limits=1, user_api="openmp")


def _openvino(number: str) -> Make:
    """Compile by OpenVINO, for as many threads as torch has.

    Maps in bf16 stay so. NumPy knows no bf16: OpenVINO returns them as arrays of another type of
    two bytes.
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if number == "bf16" and "BF16" not in capabilities:
        raise UnsupportedOptionError(
            "OpenVINO does not compute in bf16 on this processor. Take --precision fp32-openvino."
        )

    def make(module: nn.Module, example: Tensor, threads: int) -> Compute:
        with torch.no_grad():
            model = openvino.convert_model(module, example_input=example)
        model.reshape(list(example.shape))
        if number == "bf16":
            types = PrePostProcessor(model)
            for i, output in enumerate(model.outputs):
                if len(output.partial_shape) == 4:
                    types.output(i).tensor().set_element_type(openvino.Type.bf16)
            model = types.build()
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if number == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": threads,
            # Several processes would pin their threads to the same cores, and wait for each other.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(model, "CPU", options)
        is_half = [output.element_type == openvino.Type.bf16 for output in compiled.outputs]
        own = threading.local()

        def compute(x: Tensor) -> list[Tensor]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            frames = x.contiguous().numpy()
            outputs = own.request.infer([frames], share_inputs=True, share_outputs=True)
            tensors = []
            for i, half in enumerate(is_half):
                values = outputs[i]
                if half:
                    tensors.append(torch.from_numpy(values.view(np.int16)).view(torch.bfloat16))
                else:
                    tensors.append(torch.from_numpy(values))
            return tensors

        return compute

    return make


def _onnx(number: str) -> Make:
    """Compile by ONNX Runtime, for as many threads as torch has."""
    import onnxruntime

    def make(module: nn.Module, example: Tensor, _threads: int) -> Compute:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        with tempfile.TemporaryDirectory(prefix="etab-onnx-") as folder:
            path = str(Path(folder) / "network.onnx")
            with torch.no_grad():
                torch.onnx.export(module, (example,), path, verbose=False, input_names=["frames"])
            session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )

        def compute(x: Tensor) -> list[Tensor]:
            outputs = session.run(None, {"frames": x.contiguous().numpy()})
            return [torch.from_numpy(output) for output in outputs]

        return compute

    return make


def _compile(number: str) -> Make:
    """Compile by torch; on a GPU a CUDA graph replays the whole network."""

    def make(module: nn.Module, example: Tensor, _threads: int) -> Compute:
        on_gpu = example.device.type == "cuda"
        options: dict[str, Any] = {"triton.cudagraphs": True} if on_gpu else {"freezing": True}
        compiled: Any = torch.compile(module, dynamic=False, options=options)

        def compute(x: Tensor) -> list[Tensor]:
            with torch.no_grad():
                outputs = compiled(x)
            return list(outputs)

        return compute

    return make


def _plain(number: str) -> Make:
    """Call a module as it is."""

    def make(module: nn.Module, example: Tensor, _threads: int) -> Compute:
        return lambda x: list(module(x))

    return make


_MAKERS: Mapping[str, Callable[[str], Make]] = {
    "fused": _plain,
    "compile": _compile,
    "openvino": _openvino,
    "onnx": _onnx,
}

# Modules that a backend needs, and the extra of etab that installs them.
_NEEDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "openvino": (("openvino",), "openvino"),
    "onnx": (("onnxruntime", "onnxscript"), "onnx"),
}


def require(backend: str, device: str) -> None:
    """Check that a backend can be used here.

    Args:
        backend: Name of a backend.
        device: The device, as torch names it.

    Raises:
        MissingPackageError: Its package, or a compiler that it needs, is not installed.
        UnsupportedOptionError: It does not compute on this device.
    """
    modules, extra = _NEEDS.get(backend, ((), ""))
    if modules and device != "cpu":
        raise UnsupportedOptionError(
            f"{backend} computes on the processor here, not on {device}. Take --device cpu, or a "
            "--precision without it."
        )
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingPackageError(
                f"The backend {backend} needs the package {module}: "
                f'pip install "etab-bench[{extra}]".'
            )
    if backend == "compile" and device == "cpu" and not _has_compiler():
        raise MissingPackageError(
            "The backend compile needs a C++ compiler on the processor, and none was found by CXX "
            "or on the path. Install g++, or take another --precision."
        )


def _has_compiler() -> bool:
    names = [os.environ.get("CXX", ""), "g++", "clang++", "cl"]
    return any(shutil.which(name) for name in names if name)


def compiled(
    module: nn.Module, number: str, backend: str, device: str, *, whole: bool = False
) -> Graph:
    """Give a module to a backend.

    Args:
        module: Maps a batch to a tuple of tensors with as many rows.
        number: "fp32" or "bf16".
        backend: Name of a backend.
        device: The device, as torch names it.
        whole: Whether every backend divides a batch among threads itself.

    Returns:
        A function that computes the same as the module; it is compiled at its first call.

    Raises:
        MissingPackageError: The backend is not installed.
        UnsupportedOptionError: It does not compute on this device or in this number format.
    """
    require(backend, device)
    return Graph(module, _MAKERS[backend](number), 0 if whole else _ROWS.get(backend, 0))
