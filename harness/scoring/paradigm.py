"""The paradigm that stands for whatever was done elsewhere: it can be looked at, and not trained."""

from __future__ import annotations

from harness.asking.styles import DIRECT
from harness.core import Job, Learner, Paradigm, Scale, Trained, UserError, Work


def refuse(job: Job) -> Trained:
    """Nothing is trained here."""
    raise UserError("what was trained elsewhere is only scored here: use a paradigm of `harness list` to train")


def no_work(shown: int, paradigm: Paradigm, scale: Scale) -> Work:
    """No work."""
    return Work(steps=0)


ELSEWHERE = Paradigm(
    name="elsewhere",
    learner=Learner(name="elsewhere", version=1, train=refuse, work=no_work, obeys=frozenset()),
    style=DIRECT,
)
