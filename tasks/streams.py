"""The orders in which tasks are learned; every order is a named value."""

from __future__ import annotations

from harness.core import Stream

SUITES = ("mmmu", "mmlu-pro", "pope")
EPOCHS = {
    "scienceqa": 1,
    "textvqa": 1,
    "vizwiz": 1,
    "gqa": 1,
    "geometry3k": 10,
    "pathvqa": 1,
    "super-clevr": 3,
}


def stream(name: str, tasks: tuple[str, ...], cite: str, general: tuple[str, ...] = SUITES) -> Stream:
    """A stream with the epochs of arXiv:2507.05386 for each of its tasks."""
    return Stream(name=name, tasks=tasks, epochs={task: EPOCHS[task] for task in tasks}, general=general, cite=cite)


DEFAULT = stream(
    "default",
    ("scienceqa", "textvqa", "vizwiz", "gqa", "geometry3k", "pathvqa", "super-clevr"),
    "arXiv:2507.05386, order of the released code",
)
ESSAY = stream(
    "essay-order",
    ("scienceqa", "textvqa", "vizwiz", "geometry3k", "gqa", "pathvqa", "super-clevr"),
    "arXiv:2507.05386, order as C. Wolfe's essay lists it",
)
CODE_ORDERS = "three tasks, order of the code of a co-author of arXiv:2507.05386"
O1 = stream("o1", ("super-clevr", "scienceqa", "textvqa"), CODE_ORDERS)
O2 = stream("o2", ("textvqa", "scienceqa", "super-clevr"), CODE_ORDERS)
REAL_PAIR = stream(
    "scienceqa-vizwiz",
    ("scienceqa", "vizwiz"),
    "two tasks on photographs, for a first try on official data",
    general=(),
)
