"""The fake world as a plugin, so that the registry finds its nouns in every process; see ``fake_world.py``."""

from fake_world import (
    CARDS,
    COINS,
    DICE,
    DRIFT,
    ENGINE,
    FAKE,
    PREFIX,
    SHOUTS,
    SLOW,
    STREAM,
    WATCHED,
    WATCHING,
)

__all__ = [
    "CARDS", "COINS", "DICE", "DRIFT", "ENGINE", "FAKE", "PREFIX", "SHOUTS", "SLOW", "STREAM", "WATCHED", "WATCHING",
]  # fmt: skip
