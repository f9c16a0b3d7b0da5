"""Finds tasks, streams, paradigms, scales, suites, probes and engines by name, at run time.

A module-level value is all it takes: every noun of the packages ``tasks`` and ``baselines``, every Scale of
``harness.scales``, every engine of ``harness.asking.engines.kinds``, and what a plugin file of the user's defines. So
``harness`` imports none of them. Standard library only.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar, cast

from harness.asking.engines import EngineKind
from harness.core import Paradigm, Probe, Scale, Stream, Suite, Task, UserError, slug

KINDS: dict[str, type] = {
    "task": Task, "stream": Stream, "paradigm": Paradigm, "scale": Scale, "suite": Suite, "probe": Probe,
    "engine": EngineKind,
}  # fmt: skip
PACKAGES = ("tasks", "baselines")
MODULES = ("harness.scales", "harness.asking.engines.kinds")
PLUGIN_VARIABLE = "CPT_HARNESS_PLUGINS"
ROOT = Path(__file__).resolve().parents[1]
_plugins: dict[Path, ModuleType] = {}

Named = Task | Stream | Paradigm | Scale | Suite | Probe | EngineKind
Noun = TypeVar("Noun", Task, Stream, Paradigm, Scale, Suite, Probe, EngineKind)


def all_of(kind: str) -> dict[str, Named]:
    """Every registered object of a kind ("task", "stream", "paradigm" or "scale") by its name, sorted.

    Raises:
        UserError: where two different objects have one name, or a name is no slug.
    """
    noun = KINDS[kind]
    found: dict[str, tuple[Named, str]] = {}
    for module in _modules():
        for value in vars(module).values():
            if not isinstance(value, noun):
                continue
            known, where = found.setdefault(slug(cast(Named, value).name), (cast(Named, value), module.__name__))
            if known is not value:
                raise UserError(
                    f"two {kind}s are called {known.name} ({where} and {module.__name__}): rename one of them"
                )
    return {name: found[name][0] for name in sorted(found)}


def names(kind: str) -> list[str]:
    """The registered names of a kind, sorted."""
    return list(all_of(kind))


def find(kind: str, name: str) -> Named:
    """The object of a kind with this name.

    Raises:
        UserError: where there is none, naming the nearest one.
    """
    known = all_of(kind)
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
    raise UserError(f"unknown {kind} {name!r}: {hint} (`harness list` names all)")


def typed(noun: type[Noun], name: str) -> Noun:
    """``find`` for a noun's class instead of its kind, with the type that goes with it."""
    kind = next(kind for kind, known in KINDS.items() if known is noun)
    return cast(Noun, find(kind, name))


def load_plugin(path: Path) -> None:
    """Register the nouns of a Python file outside the package; loading a file again changes nothing.

    The file is a program and runs with the user's rights, as any module that is imported. The digest of its content is
    part of its module's name, so that the functions which it defines have other names when it is edited, and two files
    of one name do not meet.

    Raises:
        UserError: where it cannot be read or run, defines no noun, or uses a name that is taken.
    """
    path = path.resolve()
    if path in _plugins:
        return
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"plugin {path} is no Python file: name a file that ends in .py")
    name = f"plugin_{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        raise UserError(f"plugin {path} is loaded already, from another place: name it once")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin {path} cannot be read: check the file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # frozen dataclasses look their module up while it is being run
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"plugin {path} does not load: {type(error).__name__}: {_line(error)}") from error
    if not any(isinstance(value, tuple(KINDS.values())) for value in vars(module).values()):
        del sys.modules[name]
        raise UserError(f"plugin {path} defines no {_kinds()} at module level: add one")
    _plugins[path] = module
    try:
        for kind in KINDS:
            all_of(kind)
    except UserError:
        del _plugins[path], sys.modules[name]
        raise


def _kinds() -> str:
    nouns = [noun.__name__ for noun in KINDS.values()]
    return f"{', '.join(nouns[:-1])} or {nouns[-1]}"


def load_plugins(paths: tuple[Path, ...] = ()) -> None:
    """Load the files given, and those that the environment variable ``CPT_HARNESS_PLUGINS`` lists."""
    listed = os.environ.get(PLUGIN_VARIABLE, "")
    for path in (*(Path(item) for item in listed.split(os.pathsep) if item), *paths):
        load_plugin(path)


def plugins() -> tuple[Path, ...]:
    """The plugin files that are loaded."""
    return tuple(_plugins)


def loaded_plugins() -> dict[str, str]:
    """The plugin files that are loaded, each with twelve hex digits of its content."""
    return {str(path): module.__name__.rpartition("_")[2] for path, module in _plugins.items()}


def defined_in(path: Path) -> dict[str, list[object]]:
    """The nouns of a loaded plugin by kind: those that no module of the project defines."""
    module = _plugins[path.resolve()]
    ours = {id(value) for other in _modules() if other is not module for value in vars(other).values()}
    values = [value for value in vars(module).values() if id(value) not in ours]
    return {kind: [value for value in values if isinstance(value, noun)] for kind, noun in KINDS.items()}


def _line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())[:300] or "no message"


def _modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        parent = _our_package(package)
        yield parent
        for item in pkgutil.iter_modules(parent.__path__):
            if not item.ispkg:
                yield importlib.import_module(f"{package}.{item.name}")
    for name in MODULES:
        yield importlib.import_module(name)
    yield from _plugins.values()


def _our_package(name: str) -> ModuleType:
    """A package of the project itself, not one of that name that stands earlier on the path.

    Raises:
        UserError: where another package of that name was found.
    """
    spec = importlib.util.find_spec(name)  # what stands there is not run before it is known to be ours
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not any(Path(place).resolve().parent == ROOT for place in places):
        found = places[0] if places else spec.origin if spec else "no place"
        raise UserError(
            f"the package {name!r} is found in {found}, not in {ROOT}: rename that folder, or take it off PYTHONPATH"
        )
    return importlib.import_module(name)
