"""Text that is shown: numbers with their nouns, and texts of strangers made harmless."""

from __future__ import annotations

import re
import unicodedata

# A text that begins with one of these signs is a formula to a spreadsheet. Where the language of the
# computer separates cells by semicolons, the text after one is a cell, too.
_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


# What Markdown reads between words: emphasis, formulas, links, entities, and a backslash before them.
_MARKUP = re.compile(r"\\|[*~$]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(:]")
_ENTITY = re.compile(r"&(?=#?\w+;)")

_JOINER = "\N{ZERO WIDTH JOINER}"
_SELECTORS = "\ufe0e\ufe0f"
_KEYCAP = "\N{COMBINING ENCLOSING KEYCAP}"

# Letters, marks and symbols that a font draws as nothing: fillers of Hangul, variation selectors,
# an empty pattern of Braille.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun.

    Args:
        count: The number.
        noun: The noun of one.
        plural: The noun of several; by default with an s.

    Example:
        >>> counted(1, "file"), counted(3240, "file"), counted(2, "process", "processes")
        ('1 file', '3,240 files', '2 processes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    r"""Replace characters that are not printable.

    Control characters could change what a terminal shows, and no file can hold lone surrogates.
    Letters that nobody sees could make two names look alike. A joiner stays between two symbols, of
    which it makes one emoji, and so does a selector behind a symbol.

    Args:
        text: Text from a result file.

    Returns:
        The text with U+FFFD in place of each character that is not printable.

    Example:
        >>> printable("cnn\x1b[2J")
        'cnn\ufffd[2J'
    """
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(
        letter
        if _is_seen(text, place) or _joins_symbols(text, place)
        else "\N{REPLACEMENT CHARACTER}"
        for place, letter in enumerate(text)
    )


def _is_seen(text: str, place: int) -> bool:
    """Whether a reader sees a character, or what it does to the symbol before it."""
    letter = text[place]
    if not _UNSEEN.match(letter):
        return letter.isprintable()
    is_after_symbol = place > 0 and unicodedata.category(text[place - 1]).startswith("S")
    return letter in _SELECTORS and (is_after_symbol or text[place + 1 : place + 2] == _KEYCAP)


def _joins_symbols(text: str, place: int) -> bool:
    """Whether a character joins the symbols before and after it."""
    if text[place] != _JOINER or not 0 < place < len(text) - 1:
        return False
    before, after = text[place - 1], text[place + 1]
    is_symbol = before == "\N{VARIATION SELECTOR-16}" or unicodedata.category(before) in (
        "So",
        "Sk",
    )
    return is_symbol and unicodedata.category(after) == "So"


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
    """Write a text for a line of Markdown, so that no part of it is HTML, a link or emphasis.

    Args:
        text: Any text. What stands between two backticks stays code.

    Returns:
        The printable text on one line, with ``<`` as an entity and other signs escaped.

    Example:
        >>> markdown_text("<b> [a](b) pixel_pca __proto__ `etab run`")
        '&lt;b> [a]\\\\(b) pixel_pca \\\\_\\\\_proto\\\\_\\\\_ `etab run`'
    """
    parts = printable(text.replace("\n", " ")).split("`")
    if len(parts) % 2 == 0:  # a backtick without its mate begins no code
        return "\\`".join(map(_escaped, parts))
    pieces = [
        part.replace("<", "&lt;") if place % 2 else _escaped(part)
        for place, part in enumerate(parts)
    ]
    return "`".join(pieces)


def _escaped(words: str) -> str:
    """Words of which Markdown reads no sign as anything else; ``pixel_pca`` is plain to it."""
    plain = _ENTITY.sub("&amp;", _MARKUP.sub(r"\\\g<0>", words))
    return plain.replace("<", "&lt;")
