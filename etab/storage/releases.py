"""Which code was released, and in which version.

Released code is identified by its version. The code of a user has no version, so its content is
read.
"""

from __future__ import annotations

import functools
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parents[1])
_STANDARD = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))


@functools.cache
def _site_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = [
        paths["purelib"],
        paths["platlib"],
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
    return tuple(dict.fromkeys(folders))


def _within(file: str, folders: Iterable[str]) -> bool:
    return any(file.startswith(folder.rstrip("/\\") + sep) for folder in folders for sep in "/\\")


def is_released_file(file: str | None) -> bool:
    """Whether a source file belongs to the standard library, etab or an installed distribution.

    Args:
        file: Path of the file, as code objects name it; None is not released.
    """
    if not file:
        return False
    if file.startswith("<frozen "):
        return True
    return _within(file, (_PACKAGE, *_site_folders(), *_STANDARD))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def release_of(module: str) -> str | None:
    """Name the distribution of a module with its version, such as "torch 2.9.0".

    Args:
        module: Full name of the module.

    Returns:
        The name and version; "etab" for etab, and None for a module of the user.
    """
    top = module.partition(".")[0]
    if top == "etab":
        return "etab"
    return _release(top, getattr(sys.modules.get(top), "__file__", None))


@functools.cache
def _release(top: str, file: str | None) -> str | None:
    standard = top in sys.stdlib_module_names and (file is None or is_released_file(file))
    if standard or top == "builtins":
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    if file is None or not _within(file, _site_folders()):
        return None
    names = sorted(set(_distributions().get(top, [])))
    if not names:
        return None
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


@functools.cache
def release_version(distribution: str) -> str:
    """Return the version of an installed distribution, or "absent" if it is not installed.

    Args:
        distribution: Name of the distribution, such as "opencv-python-headless".

    Example:
        >>> release_version("no-such-distribution")
        'absent'
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"
