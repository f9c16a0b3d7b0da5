"""The leaderboard as tables for people: Markdown, LaTeX and HTML, made of the same boards by the same code.

The best of a column is bold, and what cannot be told apart from it has an asterisk. Every text is made safe for the
language that it stands in.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.results.metrics import ALL
from harness.results.standings import ALIKE, BEST, TABLE, Board, Standing
from harness.results.stats import Estimate
from harness.store.disk import write

NOTE = (
    "Percent and points with 95% intervals; bold: the best of its column; *: not told apart from it (the interval of"
    " their difference holds zero). With one seed the noise of seeds is not in an arm's interval, and in a difference"
    " it is taken from the other arm, where that has several."
)
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    one: "\\" + one for one in "&%$#_{}"
}


def write_pages(boards: Sequence[Board], results: Path) -> list[Path]:
    """Write leaderboard.md, leaderboard.tex and leaderboard.html; their paths."""
    pages = {"leaderboard.md": markdown, "leaderboard.tex": latex, "leaderboard.html": page}
    for name, made in pages.items():
        write(results / name, made(boards).encode())
    return [results / name for name in pages]


def number(name: str, found: Estimate | None) -> str:
    """A metric as it is shown: percent, or points with a sign, and its interval; empty where undefined."""
    if found is None:
        return ""
    sign = "+" if ALL[name].points else ""
    value, low, high = (f"{round(100 * one, 1) + 0.0:{sign}.1f}" for one in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def title(board: Board) -> str:
    """What a board compares, in one line."""
    return f"Stream {board.stream}, scale {board.scale}, asked in the style {board.style} (group {board.group})"


def _cells(one: Standing, safe: Callable[[str], str], bold: Callable[[str], str]) -> list[str]:
    """The fields of an arm's row."""
    found = [safe(one.paradigm), safe(one.trained), str(one.seeds)]
    for name in TABLE:
        text, word = safe(number(name, one.estimates.get(name))), one.words.get(name, "")
        found.append(bold(text) if word == BEST else text + safe("*") if word == ALIKE else text)
    return found


def _heads() -> list[str]:
    return ["paradigm", "trained style", "seeds", *(name.replace("_", " ") for name in TABLE)]


def markdown(boards: Sequence[Board]) -> str:
    """The boards in Markdown."""
    lines = ["# Leaderboard", "", NOTE.replace("*", r"\*")]
    for board in boards:
        lines += ["", f"## {_marked(title(board))}", "", f"| {' | '.join(_heads())} |"]
        lines.append("|---|---|--:|" + "---|" * len(TABLE))
        lines += [f"| {' | '.join(_cells(one, _marked, lambda text: f'**{text}**'))} |" for one in board.standings]
    return "\n".join(lines) + "\n"


def _marked(text: str) -> str:
    r"""A text that is no markup in a Markdown table.

    >>> _marked("a|b*<c>")
    'a\\|b\\*&lt;c&gt;'
    """
    return html.escape(text, quote=False).replace("\\", r"\\").replace("|", r"\|").replace("*", r"\*")


def latex(boards: Sequence[Board]) -> str:
    """The boards as LaTeX tables of booktabs."""
    lines = ["% made by `harness leaderboard --rebuild`; needs booktabs", f"% {NOTE}"]
    for board in boards:
        lines += [
            r"\begin{table}",
            rf"\caption{{{tex(title(board))}}}",
            rf"\begin{{tabular}}{{llr{'r' * len(TABLE)}}}",
            r"\toprule",
            " & ".join(map(tex, _heads())) + r" \\",
            r"\midrule",
        ]
        lines += [" & ".join(_cells(one, tex, lambda text: rf"\textbf{{{text}}}")) + r" \\" for one in board.standings]
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def tex(text: str) -> str:
    r"""A text that LaTeX prints as it is.

    >>> tex("50% of_it \\input{x}")
    '50\\% of\\_it \\textbackslash{}input\\{x\\}'
    """
    return "".join(_LATEX.get(letter, letter) for letter in text)


def page(boards: Sequence[Board]) -> str:
    """The boards as one HTML page that loads nothing and runs nothing."""
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Leaderboard</title>',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse;margin-bottom:2em}"
        "caption{text-align:left;font-weight:bold;padding:.4em 0}th,td{padding:.3em .7em;border-bottom:1px solid #bbb;"
        "text-align:right;white-space:nowrap}th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:"
        "left}div{overflow-x:auto}</style></head><body>",
        f"<h1>Leaderboard</h1><p>{html.escape(NOTE)}</p>",
    ]
    for board in boards:
        heads = "".join(f'<th scope="col">{html.escape(one)}</th>' for one in _heads())
        lines.append(
            f"<div><table><caption>{html.escape(title(board))}</caption><thead><tr>{heads}</tr></thead><tbody>"
        )
        for one in board.standings:
            cells = _cells(one, html.escape, lambda text: f"<strong>{text}</strong>")
            lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        lines.append("</tbody></table></div>")
    return "\n".join([*lines, "</body></html>"]) + "\n"


__all__ = ["latex", "markdown", "number", "page", "tex", "write_pages"]
