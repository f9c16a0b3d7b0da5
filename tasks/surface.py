r"""What a model puts around an answer, taken off: LaTeX, Markdown, and characters that look like those of ASCII."""

from __future__ import annotations

import re
from unicodedata import normalize

_COMMANDS = "text|textbf|textit|textrm|textsf|texttt|textnormal|emph|mathrm|mathbf|mathit|mathsf|mathtt|boldsymbol"
_WRAPPER = re.compile(rf"\\(?:{_COMMANDS}|operatorname|[mfh]box|boxed)\s?\{{([^{{}}]*)\}}")
_MARKDOWN = re.compile(r"(?<![^\W_])(?<![*\\])(\*{1,3}|_{1,3}|`{1,3})(?=\S)([^\n]{1,120}?)(?<=\S)\1(?![^\W_]|\*)")
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_ESCAPED = re.compile(r"\\([%&$#_])")
_SPACE = re.compile(r"\\[ ,;:]|\\q?quad(?![a-zA-Z])")
_LAYERS = 8
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_START = re.compile(r"[ .'-]+(?=[^\d .'-])")  # a number keeps its sign and its leading point
# Full-width signs, and letters in circles, in brackets or in mathematical alphabets.
_BLOCKS = (range(0xFF01, 0xFF5F), range(0x249C, 0x24EA), range(0x1D400, 0x1D6A4))
_LOOKALIKES = {code: normalize("NFKC", chr(code)) for block in _BLOCKS for code in block} | str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u3010\u3014", "["),
        **dict.fromkeys("\u3011\u3015", "]"),
        **dict.fromkeys("\u00a0\u3000", " "),
        "\u3001": ",",
        "\u3002": ".",
        "\u2026": "...",
    }
)


def bare(answer: str) -> str:
    r"""The answer without what a model wraps around words: LaTeX, Markdown, full-width signs; line breaks stay.

    >>> bare(r" \text{two cups} "), bare("$B$"), bare(r"\(\text{\textbf{B}}\)"), bare("**B**"), bare(r"30\%")
    ('two cups', 'B', 'B', 'B', '30%')
    """
    text = answer.translate(_LOOKALIKES).strip()
    for _ in range(_LAYERS):
        before = text
        text = _MARKDOWN.sub(r"\2", _WRAPPER.sub(r"\1", text)).strip()
        for start, end in _DELIMITERS:
            if len(text) > len(start + end) and text.startswith(start) and text.endswith(end):
                text = text[len(start) : -len(end)].strip()
                break
        if text == before:
            break
    return _SPACE.sub(" ", _ESCAPED.sub(r"\1", text).replace("{,}", ",").replace(r"\!", "")).strip()


def words(text: str) -> str:
    """Lower case without articles, outer punctuation and double spaces; never used on option letters.

    A text that is nothing but an article stays as it is, so that a gold answer can always be reached.

    >>> words("The Red cup."), words("left-hand  side"), words("-0.5."), words("A")
    ('red cup', 'left-hand side', '-0.5', 'a')
    """
    kept = " ".join(re.sub(r"[^\w\s'%$/.-]", " ", bare(text).lower()).split()).strip(" '").rstrip(" .'-")
    start = _START.match(kept)
    cleaned = kept[start.end() :] if start else kept
    return " ".join(_ARTICLES.sub(" ", cleaned).split()) or cleaned
