"""Other benchmarks as they stand: their own files, loaded from checkouts.

A variable of the environment names the checkout of each. Without it, its lines are left out of the
table. Two of the three cannot be installed beside etab (torchgeo-bench wants Python 3.12 and its own
data; CardioBench is no package), so that single files of theirs are loaded, unchanged.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

TORCHGEO_BENCH = "ETAB_PEER_TORCHGEO_BENCH"
CARDIOBENCH = "ETAB_PEER_CARDIOBENCH"
EVA = "ETAB_PEER_EVA"


def torchgeo_bench(name: str) -> ModuleType | None:
    """A module of torchgeo-bench: "utils" (its loop of features), "linear" or "knn"."""
    return _file(TORCHGEO_BENCH, f"src/torchgeo_bench/{name}.py")


def cardiobench(path: str) -> ModuleType | None:
    """A file of CardioBench: "src/video.py", or "evaluation/utils.py"."""
    return _file(CARDIOBENCH, path)


def eva() -> ModuleType | None:
    """The package eva from its checkout; its requirements have to be installed."""
    checkout = os.environ.get(EVA)
    if not checkout:
        return None
    source = str(Path(checkout) / "src")
    if source not in sys.path:
        sys.path.append(source)
    importlib.import_module("eva.core.callbacks")
    return importlib.import_module("eva.core")


def _file(variable: str, path: str) -> ModuleType | None:
    """A file of a checkout as a module; None where the variable names no checkout."""
    checkout = os.environ.get(variable)
    if not checkout:
        return None
    source = Path(checkout) / path
    if not source.is_file():
        raise FileNotFoundError(f"{variable} is {checkout}, which has no {path}; name a checkout.")
    return _loaded(source)


@cache
def _loaded(source: Path) -> ModuleType:
    name = "peer_" + hashlib.sha256(str(source).encode()).hexdigest()[:16]
    found = importlib.util.spec_from_file_location(name, source)
    if found is None or found.loader is None:
        raise ImportError(f"{source} is no module of Python.")
    module = importlib.util.module_from_spec(found)
    # Data classes look their module up while it is loaded.
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module
