"""Checks that both challenges make before the program of an entry runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etab.challenges.sandbox import BUBBLEWRAP, NONE
from etab.errors import EntryError, UnsupportedOptionError
from etab.files import read_json_file
from etab.storage.atomic import write_atomically

WARNING = (
    "An entry is someone else's program. Without bubblewrap (bwrap) on this machine, it runs with "
    "your rights: it can read, change and delete your files and use the network. The limits "
    "of time and memory are not a sandbox."
)

_NOTES = {
    BUBBLEWRAP: (
        "  sandbox: bubblewrap. This is the score of a foreign program, which etab never ranks."
    ),
    NONE: (
        "  sandbox: none. The program could have read the labels, so this score proves nothing; "
        "etab never ranks it. Install bubblewrap (bwrap) to keep programs from labels and network."
    ),
}


def sandbox_note(sandbox: str) -> str:
    """Say how far the score of someone else's program can be trusted.

    Args:
        sandbox: Name of the sandbox that the program ran in, "bubblewrap" or "none".

    Example:
        >>> "never ranks" in sandbox_note("none")
        True
    """
    return _NOTES[sandbox]


def require_trust(trust: bool) -> None:
    """Refuse to run the program of an entry unless the caller trusts it.

    Args:
        trust: Whether the caller trusts the program (``--trust``).

    Raises:
        UnsupportedOptionError: If ``trust`` is False.

    Example:
        >>> require_trust(True)
    """
    if not trust:
        raise UnsupportedOptionError(
            f"{WARNING} Read it, run it in a container or virtual machine if you do not know its "
            "authors, and say --trust (trust=True) to go on."
        )


def resume_at(out: Path, facts: Mapping[str, Any]) -> None:
    """Make a folder the output of a run, or go on with the same run there.

    Args:
        out: The folder; it is made if it is absent.
        facts: What identifies the run: digests of the entry and of the data, and the options. They
            are kept in ``run.json``.

    Raises:
        EntryError: If the folder holds the output of another run, or other files.
    """
    path = out / "run.json"
    if path.is_file():
        differing = _differing_facts(path, facts)
        has_output = any(other.name != path.name for other in out.iterdir())
        if differing and has_output:
            raise EntryError(
                f"{out} holds another run ({', '.join(differing)} differ). Choose another folder "
                "with --out, or move that one away."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise EntryError(
            f"{out} holds other files, and no {path.name} of a run. Choose another folder with "
            "--out."
        )
    write_atomically(path, json.dumps(dict(facts), indent=1) + "\n")


def _differing_facts(path: Path, facts: Mapping[str, Any]) -> list[str]:
    try:
        recorded = read_json_file(path)
    except (OSError, ValueError) as error:
        raise EntryError(
            f"{path} cannot be read: {error}. Choose another folder with --out."
        ) from error
    if not isinstance(recorded, dict):
        return list(facts)
    return [name for name, value in facts.items() if recorded.get(name) != value]
