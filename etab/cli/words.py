"""Text that comes in from the command line, and text that goes out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from etab.errors import UnknownNameError
from etab.storage.text import printable


def say(text: str, *, error: bool = False) -> None:
    """Print a text to standard output, or to standard error.

    Names come from files: signs in them that would change what a terminal shows are replaced. Lines
    and tabs stay.
    """
    stream = sys.stderr if error or sys.stdout.closed else sys.stdout
    whole = text.encode("utf-8", "backslashreplace").decode()
    parts = re.split(r"([\n\t])", whole)
    shown = [part if part in ("\n", "\t") else printable(part) for part in parts]
    stream.write("".join(shown) + "\n")


def say_left_out(reason: str) -> None:
    """Name on standard error a file that a command leaves out, and why."""
    say(f"left out: {reason}", error=True)


def wrote(path: Path) -> str:
    """Say that a file is written, and which new folder is made for it.

    Args:
        path: The file, before it is written: folders on its way that do not exist are made.

    Example:
        >>> wrote(Path("board.html"))
        'wrote board.html'
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    made = f", in the new folder {missing[-1]}" if missing else ""
    return f"wrote {path}{made}"


def words(text: str | None) -> list[str] | None:
    """Split words at commas; None where there is no text."""
    if not text:
        return None
    return [word.strip() for word in text.split(",") if word.strip()]


def weights(pairs: list[str]) -> dict[str, float]:
    """Read options of the form NAME=WEIGHT."""
    weight_of: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            weight_of[name] = float(value)
        except ValueError:
            raise UnknownNameError(
                f"{pair!r} is not NAME=WEIGHT, for instance a=2 or a0-A4-C=0.5."
            ) from None
    return weight_of


def protocol_in_results(protocol: str | None) -> str | None:
    """Name a protocol as results name it.

    Args:
        protocol: What a user gives: official, cv, lists:FILE, ...; None for no choice.

    Returns:
        The name: "cv5" for "cv", and the key of a list of folds for its file.

    Raises:
        IncompatibleError: There is no such protocol.
        DataNotFoundError: There is no such file of folds.
    """
    if protocol is None:
        return None
    from etab.tasks.protocols import parse

    return parse(protocol).name
