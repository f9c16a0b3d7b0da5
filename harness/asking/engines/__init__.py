"""What generates: an engine turns prompts with pictures into replies. Every engine is opened here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from harness.asking.chat import Text
from harness.core import Decoding, Scale

Prompt = tuple[Text, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One reply: its text, its length in tokens (the end mark included), and whether the length cut it off."""

    text: str
    tokens: int
    truncated: bool


class Engine(Protocol):
    """One loaded model. A prompt is its text, or the turns of its chat, and its opened pictures.

    ``name`` and ``version`` are those of its kind, ``device_kind`` says on what it computes ("cpu", or the GPU's name):
    all three belong to the address of a reply. As a context manager an engine closes itself.
    """

    name: str
    version: int
    device_kind: str

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """A greedy reply for each prompt, in the prompts' order; a function of model, prompts and decoding alone.

        A reply ends before the first of the decoding's ``stop`` texts that it would hold.

        Raises:
            UserError: where a prompt is longer than the scale allows.
        """
        ...

    def sample(
        self, prompts: Sequence[Prompt], decoding: Decoding, rollouts: int, seed: int, top_p: float
    ) -> list[list[Generation]]:
        """``rollouts`` replies for each prompt, sampled at temperature 1.

        Raises:
            UserError: where a prompt is longer than the scale allows.
        """
        ...

    def close(self) -> None:
        """Free the model and what was kept beside it; closing again changes nothing."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *reason: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class EngineKind:
    """A way to generate: its name, and what loads a model folder into an engine of this kind.

    ``version`` is raised by hand whenever the same model would reply otherwise. An engine that ``takes_all_devices`` is
    opened once; of another one as many are opened as there are devices. ``elsewhere`` says that it computes on another
    machine, of which nothing is known; ``opening`` is what to say while it is opened, where that takes long.
    """

    name: str
    version: int
    open: Callable[[Path, Scale], Engine]
    takes_all_devices: bool = False
    elsewhere: bool = False
    opening: str = ""


def open_engine(folder: Path, scale: Scale) -> Engine:
    """The model of a folder, loaded by the engine that the scale names. Close it, or use it as a context manager.

    Raises:
        UserError: where no engine has that name.
    """
    return engine_kind(scale).open(folder, scale)


def engine_kind(scale: Scale) -> EngineKind:
    """The engine that a scale names. Raises UserError where none has that name."""
    from harness import registry

    return cast(EngineKind, registry.find("engine", scale.engine))
