"""The outputs of modules inside a torch network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn


def module_outputs(
    network: nn.Module,
    modules: Mapping[str, nn.Module],
    names: Mapping[str, str],
    x: Tensor,
    *,
    copy: bool = False,
) -> tuple[dict[str, Any], Any]:
    """Run a network and keep what some of its modules return.

    Args:
        network: The network.
        modules: ``dict(network.named_modules())``, made once by the caller.
        names: Module of each layer, {layer: module}.
        x: The input of the network.
        copy: Whether to keep copies, for outputs that the next module may overwrite (an in-place
            ReLU).

    Returns:
        The outputs by layer, in the order of ``names``, and the output of the network.
    """
    outputs: dict[str, Any] = {}

    def store(layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs[layer] = output.clone() if copy else output

        return hook

    hooks = []
    for layer, module in names.items():
        hooks.append(modules[module].register_forward_hook(store(layer)))
    try:
        output = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: outputs[layer] for layer in names}, output
