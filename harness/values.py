"""What every noun is checked by and addressed by: one-line refusals, digests, and the names of functions.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

_SLUG = re.compile(r"[a-z0-9][a-z0-9.-]*")
LONGEST_NAME = 64


class UserError(Exception):
    """A mistake that the user can mend: one line saying what is wrong and what to do. The command exits with 2."""


def digest(value: object) -> str:
    """SHA-256, in hex, of a value's canonical JSON; functions count by their name, nouns by their fields."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """A value as JSON types: nouns become mappings, sets sorted lists, functions their names, paths their text.

    A frozen value that can be called counts by its class and its fields.
    """
    if is_dataclass(value) and not isinstance(value, type):
        does = {"does": name_of(type(value))} if callable(value) else {}
        return {**does, **{item.name: plain(getattr(value, item.name)) for item in fields(value)}}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if callable(value):
        return name_of(value)
    if isinstance(value, Path):
        return str(value)
    return value


def name_of(function: Callable[..., Any]) -> str:
    """The module and qualified name of a function, which must determine it.

    Raises:
        UserError: for a lambda, a closure, a ``partial`` or a callable object: two of them can share a name, or have
            none, and one would be served what the other made.

    >>> name_of(digest)
    'harness.values.digest'
    >>> name_of(lambda job: job)
    Traceback (most recent call last):
    harness.values.UserError: <lambda> is no function of a module: write it as `def name(...)` at the top of a file
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    found: Any = sys.modules.get(module or "")
    for part in (name or "").split("."):
        found = getattr(found, part, None)
    if found is not function:
        said = name or type(function).__name__
        raise UserError(f"{said} is no function of a module: write it as `def name(...)` at the top of a file")
    return f"{module}.{name}"


def slug(name: object) -> str:
    """The name itself, if it is lower-case letters, digits, dots and dashes; so that no name can become a path.

    Raises:
        UserError: for anything else.

    >>> slug("rft-nokl"), slug("qwen2.5-vl-7b")
    ('rft-nokl', 'qwen2.5-vl-7b')
    >>> slug("../rft")
    Traceback (most recent call last):
    harness.values.UserError: '../rft' is no name: use lower-case letters, digits, dots and dashes
    """
    if not isinstance(name, str) or not _SLUG.fullmatch(name) or ".." in name:
        raise UserError(f"{cut(repr(name))} is no name: use lower-case letters, digits, dots and dashes")
    if len(name) > LONGEST_NAME:
        raise UserError(f"{cut(repr(name))} is too long for a name: use at most {LONGEST_NAME} letters")
    return name


def cut(text: str, length: int = 200) -> str:
    r"""A text on one line, without control characters and no longer than ``length``.

    >>> cut("two\nlines \x1b[31mred"), cut("x" * 9, 5)
    ('two lines ?[31mred', 'xx...')
    """
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= length else line[: length - 3] + "..."


class Checked:
    """What a noun's ``__post_init__`` refuses with: each method raises UserError naming the object and the field.

    That its name, where it has one, is a slug and its citation a text is looked at for every noun.
    """

    def __init__(self, noun: object) -> None:
        """Remember whose fields are looked at."""
        self.noun = noun
        self.called = type(noun).__name__
        if hasattr(noun, "name"):
            self.called += f" {cut(repr(noun.name))}"
            self.name("name")
        if hasattr(noun, "cite"):
            self.text("cite")

    def refuse(self, field: str, wanted: str) -> None:
        """Raise UserError: the field's value is not what is wanted."""
        value = cut(repr(getattr(self.noun, field)), 60)
        raise UserError(f"{self.called}: {field} is {value}, wanted is {wanted}")

    def name(self, *names: str) -> None:
        """Each field is a slug."""
        for field in names:
            try:
                slug(getattr(self.noun, field))
            except UserError as fault:
                raise UserError(f"{type(self.noun).__name__}: {field}: {fault}") from fault

    def text(self, *names: str) -> None:
        """Each field is a text."""
        for field in names:
            if not isinstance(getattr(self.noun, field), str):
                self.refuse(field, "a text")

    def count(self, *names: str, least: int = 1, absent: bool = False) -> None:
        """Each field is a whole number of at least ``least``, or None where that is allowed (``absent``)."""
        for field in names:
            value = getattr(self.noun, field)
            if absent and value is None:
                continue
            if type(value) is not int or value < least:
                self.refuse(field, f"a whole number of {least} or more" + (", or None" if absent else ""))

    def number(self, *names: str, least: float = 0.0, most: float = math.inf, above: bool = False) -> None:
        """Each field is a finite number from ``least`` (``above``: more than it) to ``most``."""
        for field in names:
            if not is_number(getattr(self.noun, field), least, most, above):
                self.refuse(field, f"a number {'above' if above else 'from'} {least:g} to {most:g}")

    def one_of(self, field: str, *known: str) -> None:
        """The field is one of the known words."""
        if getattr(self.noun, field) not in known:
            self.refuse(field, f"one of {', '.join(known)}")

    def names(self, field: str, least: int = 0) -> None:
        """The field is a tuple of different slugs, at least so many."""
        value = getattr(self.noun, field)
        if not isinstance(value, tuple) or len(value) < least or len(set(value)) != len(value):
            self.refuse(field, f"a tuple of {least} or more different names")
        for name in value:
            try:
                slug(name)
            except UserError as fault:
                raise UserError(f"{self.called}: {field}: {fault}") from fault

    def numbers(self, field: str, most: float = math.inf) -> None:
        """The field maps names to finite numbers above 0, up to ``most``."""
        value = getattr(self.noun, field)
        named = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
        if not named or not all(is_number(number, 0, most, above=True) for number in value.values()):
            self.refuse(field, f"a mapping of names to numbers above 0 to {most:g}")

    def maps(self, kind: type, field: str) -> None:
        """The field maps names to values of this kind."""
        value = getattr(self.noun, field)
        if not isinstance(value, Mapping) or not all(isinstance(item, kind) for item in value.values()):
            self.refuse(field, f"a {kind.__name__} for each name")

    def kinds(self, kind: type, *names: str, absent: bool = False) -> None:
        """Each field is of this kind, or None where that is allowed (``absent``)."""
        for field in names:
            value = getattr(self.noun, field)
            if not isinstance(value, kind) and not (absent and value is None):
                self.refuse(field, f"a {kind.__name__}" + (", or None" if absent else ""))

    def calls(self, *names: str, absent: bool = False) -> None:
        """Each field can be called, or is None where that is allowed (``absent``)."""
        for field in names:
            value = getattr(self.noun, field)
            if not callable(value) and not (absent and value is None):
                self.refuse(field, "a function" + (", or None" if absent else ""))

    def several(self, kind: type, field: str) -> None:
        """The field is a tuple of nouns of this kind, each with a name of its own."""
        value = getattr(self.noun, field)
        if not isinstance(value, tuple) or not all(isinstance(item, kind) for item in value):
            self.refuse(field, f"a tuple of {kind.__name__}s")
        if len({item.name for item in value}) != len(value):
            self.refuse(field, f"a tuple of {kind.__name__}s of different names")

    def functions(self, *names: str, absent: bool = False) -> None:
        """Each field is a function of a module, a frozen value that can be called, or None if allowed (``absent``)."""
        self.calls(*names, absent=absent)
        for field in names:
            value = getattr(self.noun, field)
            if value is None:
                continue
            try:
                name_of(type(value) if _is_frozen(value) else value)
            except UserError as fault:
                raise UserError(f"{self.called}: {field}: {fault}") from fault


def _is_frozen(value: object) -> bool:
    """Whether a value is a frozen dataclass' instance, which its class and its fields determine."""
    return is_dataclass(value) and not isinstance(value, type) and bool(value.__dataclass_params__.frozen)  # type: ignore[attr-defined]


def is_number(value: object, least: float = 0.0, most: float = math.inf, above: bool = False) -> bool:
    """Whether a value is a finite number in a range; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return (value > least if above else value >= least) and value <= most


__all__ = ["Checked", "UserError", "cut", "digest", "is_number", "name_of", "plain", "slug"]
