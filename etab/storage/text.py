"""Text that is shown: numbers with their nouns, and texts of strangers made harmless."""

from __future__ import annotations

import re

# A text that begins with one of these signs is a formula to a spreadsheet. Where the language of the
# computer separates cells by semicolons, the text after one is a cell, too.
_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun.

    Args:
        count: The number.
        noun: The noun of one.
        plural: The noun of several; by default with an s.

    Example:
        >>> counted(1, "file"), counted(0, "file"), counted(2, "process", "processes")
        ('1 file', '0 files', '2 processes')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    r"""Replace characters that are not printable.

    Control characters could change what a terminal shows, and no file can hold lone surrogates.

    Args:
        text: Text from a result file.

    Returns:
        The text with U+FFFD in place of each character that is not printable.

    Example:
        >>> printable("cnn\x1b[2J")
        'cnn\ufffd[2J'
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def spreadsheet_text(text: str) -> str:
    """Write a text for a cell of a CSV file, so that no spreadsheet runs it.

    Args:
        text: A name or another text; no number.

    Returns:
        The printable text, with an apostrophe before it where it would be a formula.

    Example:
        >>> spreadsheet_text("=1+1"), spreadsheet_text("a; +2"), spreadsheet_text("mobilenetv2")
        ("'=1+1", "a;' +2", 'mobilenetv2')
    """
    return _FORMULA.sub(r"\1'", printable(text))


def markdown_text(text: str) -> str:
    """Write a text for a line of Markdown, so that no part of it is HTML or a link.

    Args:
        text: Any text.

    Returns:
        The printable text on one line, with ``<`` as an entity and links broken.

    Example:
        >>> markdown_text("<b> [a](b)")
        '&lt;b> [a]\\\\(b)'
    """
    plain = printable(text.replace("\n", " "))
    # A backslash must not take the sense from a sign that is escaped after it.
    return plain.replace("\\", "\\\\").replace("<", "&lt;").replace("](", "]\\(")
