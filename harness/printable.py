"""Text of unknown origin as one printable line: for messages, tables and labels. Standard library only."""

from __future__ import annotations

LONGEST = 200  # characters: a path and a sentence fit


def printable(text: object, longest: int = LONGEST) -> str:
    r"""A value's text on one line: what a terminal might act on becomes an escape, and a long one loses its middle.

    Control characters, line ends, text direction marks and lone surrogates become Python escapes; letters of any script
    stay. The result has at most ``longest`` characters.

    >>> printable("caf\u00e9 \x1b[31m\n")
    'café \\x1b[31m\\n'
    >>> printable("a" * 100_000, longest=9)
    'aaaa…aaaa'
    """
    whole = str(text)
    if len(whole) > 4 * longest:  # escaping lengthens only, so what lies between is never shown
        whole = whole[: 2 * longest] + "…" + whole[-2 * longest :]
    line = "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in whole)
    if len(line) <= longest:
        return line
    half = (longest - 1) // 2
    return f"{line[:half]}…{line[len(line) - half :]}"


__all__ = ["LONGEST", "printable"]
