"""Finds the folder of a dataset. The first of these settings that exists is used:

1. ``root=`` in the call
2. the environment variable ``ETAB_<NAME>_DIR`` (``ETAB_CAMUS_DIR``)
3. the environment variable ``ETAB_DATA``, a folder that holds ``<name>/``
4. ``paths.toml``: the file named by ``ETAB_PATHS``, else ``configs/paths.toml`` under the working
   directory. Its keys are ``echonet_dir``, ``camus_dir``, ``tmed_dir``, ...; a relative folder is
   relative to the file.
5. ``etab/data/<name>`` under the working directory, as in 2022

A setting for this dataset only (1, 2, 4) whose folder does not exist is an error; it is never
skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from etab.datasets.base import SOURCES
from etab.errors import CorruptFileError, DataNotFoundError, LayoutError
from etab.files import read_toml_file
from etab.options import path_option
from etab.registry import unknown
from etab.storage.listing import visible


def dataset_folder(
    name: str,
    root: Path | str | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> Path:
    """Find the folder of a dataset, in the order above.

    Args:
        name: Name of the dataset.
        root: The folder, if the caller knows it.
        env: Replaces the environment variables.

    Raises:
        DataNotFoundError: There is no such folder; the message lists every folder that was tried.
        UnknownNameError: paths.toml has a key that is not a dataset.
    """
    looked: list[str] = []
    for label, path, firm in candidate_folders(name, root, env=env):
        looked.append(f"{label}: {path}")
        if path.is_dir():
            return path
        if firm:
            if root is not None:
                raise DataNotFoundError(
                    f"{path} is not a folder. Pass the folder of {name} as published: --root "
                    "FOLDER (in Python: root=)."
                )
            raise DataNotFoundError(
                f"{path} is not a folder, and {label} names it. Name the folder of {name} as "
                "published there, or unset it."
            )
    raise DataNotFoundError(
        f"No folder of {name} was found. Looked at "
        + "; ".join(looked)
        + f". Pass --root FOLDER (in Python: root=), or set ETAB_{name.upper()}_DIR{_more_help(name)}."
    )


def _more_help(name: str) -> str:
    """Where else to look for a dataset of etab; nothing for a user's own data."""
    from etab.datasets.own.registered import is_own  # deferred: it imports the readers

    if name in SOURCES and is_own(SOURCES[name]):
        return ""
    return (
        " to the folder as published. `etab doctor` says where to get it, and how to make a "
        "phantom where there is one"
    )


def candidate_folders(
    name: str,
    root: Path | str | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, Path, bool]]:
    """Yield the candidates for the folder of a dataset, in order.

    Args:
        name: The name of the dataset.
        root: The folder, if the caller knows it.
        env: Replaces the environment variables.

    Yields:
        (setting, folder, whether the setting is for this dataset only).
    """
    env = os.environ if env is None else env
    if root is not None:
        yield "root=", path_option("root", root).expanduser(), True
    variable = f"ETAB_{name.upper()}_DIR"
    if env.get(variable):
        yield variable, Path(env[variable]).expanduser(), True
    if env.get("ETAB_DATA"):
        yield "ETAB_DATA", Path(env["ETAB_DATA"]).expanduser() / name, False
    listed = _listed(name, env)
    if listed is not None:
        yield f"{listed[0]} ({name}_dir)", listed[1], True
    yield "working directory", Path("etab") / "data" / name, False


def _listed(name: str, env: Mapping[str, str]) -> tuple[Path, Path] | None:
    """Look ``name`` up in paths.toml: (the file, the folder), or None."""
    named = env.get("ETAB_PATHS")
    file = Path(named).expanduser() if named else Path("configs") / "paths.toml"
    if not file.is_file():
        if named:
            raise DataNotFoundError(
                f"ETAB_PATHS names {file}, which is not a file. Correct it, or unset it."
            )
        return None
    try:
        table = read_toml_file(file)
    except (OSError, ValueError) as error:
        raise CorruptFileError(
            f"{file} is not TOML: {error}. Write lines such as camus_dir = '/data/CAMUS'."
        ) from error
    known = {f"{n}_dir" for n in (*SOURCES, name)}
    for key in table:
        if key not in known:
            raise unknown(f"key of {file}", key, known)
    value = table.get(f"{name}_dir")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise CorruptFileError(f"{file}: {name}_dir is {value!r}; wanted a folder in quotes.")
    return file, file.parent / Path(value).expanduser()


def find_folder(
    root: Path,
    *,
    title: str,
    wanted: str,
    near: Iterable[Path],
    holds: Callable[[Path], bool],
    lacks: Callable[[], str],
) -> Path:
    """Find the folder of a data set at or around the folder that a user passed.

    Args:
        root: The folder that was passed.
        title: The name of the data set, for messages.
        wanted: The folder to pass, as the end of the sentence "Pass ...".
        near: The folders to look at, ``root`` among them.
        holds: Whether a folder holds the data set.
        lacks: Describes what ``root`` lacks, if no folder holds the data set.

    Returns:
        The only one of the folders that holds the data set.

    Raises:
        DataNotFoundError: ``root`` is not a folder.
        LayoutError: None of the folders holds the data set, or several do.
    """
    if not root.is_dir():
        raise DataNotFoundError(f"{root} is not a folder. Pass {wanted}.")
    matches = {path.resolve(): path for path in near if holds(path)}
    if len(matches) == 1:
        return next(iter(matches.values()))
    if matches:
        names = ", ".join(map(str, matches.values()))
        raise LayoutError(f"{root} holds several {title} trees: {names}. Pass one of them.")
    reason = lacks() if visible(root) else "it is empty"
    raise LayoutError(f"{root} is not {title} as published: {reason}. Pass {wanted}.")
