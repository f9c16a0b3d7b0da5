"""The nouns: frozen values that say what an experiment is.

A Task says what the questions are and how an answer is marked. A Stream puts tasks in an order. A Paradigm says which
data a stage sees, which examples it keeps, which Learner learns from them, with which fields, and how it asks. An
Observation is one thing that is looked at after a stage. The runner is one loop over stages and observations, and
everything printed, ranked or plotted is read off the Cells that it writes. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.asking.chat import messages
from harness.job import Job, Trained, Work
from harness.lora import Lora
from harness.observed import OWN_STYLE, Cell, Detail, Mark, Observation, Part, ProbeValue, Progress, Reply, Verdict
from harness.task import SPLITS, Breakdown, BrokenItem, Example, Scorer, Source, Task, broken, collecting
from harness.values import Checked, UserError, digest, name_of, plain, slug

REFERENCES = ("previous", "base")
PRECISIONS = ("float32", "bfloat16")
ATTENTIONS = ("dense", "flex", "plain")
ROLLOUT_ENGINES = ("transformers", "vllm")
# Fields that came after runs were published: where one has this value, keys, ids and groups are what they were before.
LATER = {"adapter": None, "rollout_engine": "transformers", "rollout_memory": 0.3, "importance_cap": 3.0}


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a question is asked and its answer written and read; instruction and parser live together.

    Law: ``read(write(a)) == a``. ``read`` returns None where no answer can be read (the reply is malformed).
    ``follows`` is the format that the reward pays ``format_weight`` for. ``version`` is raised by hand whenever
    ``read`` or ``follows`` would decide otherwise; what ``ask`` and ``write`` give is in the keys as it is.
    """

    name: str
    version: int = 1
    ask: Callable[[Task, Example], str]
    write: Callable[[str, str], str]
    read: Callable[[str], str | None]
    follows: Callable[[str], bool]
    format_weight: float = 0.0

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("version")
        checked.functions("ask", "write", "read", "follows")
        checked.number("format_weight", most=1)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark that an outside library asks and marks; it is watched and never trained.

    ``ask(folder, count)`` gives at most ``count`` of the library's own prompts, a sample and not the first ones, as
    Examples whose ``turns`` and ``question`` are the whole prompt; without a folder those of the twin.
    ``mark(examples, replies)`` gives the library's own marks, one a reply, in their order. ``decodings`` holds another
    decoding than ``decoding`` by a scale's name; a prompt may be of ``max_prompt_tokens`` where the scale allows fewer.
    ``stands_for`` names the task of ours that marks the same benchmark, ``breakdown`` is as a Task's, on the
    library's prompts and marks.
    """

    name: str
    version: int
    cite: str
    decoding: Decoding
    ask: Callable[[Path | None, int], Sequence[Example]]
    mark: Callable[[Sequence[Example], Sequence[Reply]], Sequence[Mark]]
    stands_for: str = ""
    breakdown: Breakdown | None = None
    decodings: Mapping[str, Decoding] = field(default_factory=dict)
    max_prompt_tokens: int = 1

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("version")
        checked.kinds(Decoding, "decoding")
        checked.functions("ask", "mark")
        checked.functions("breakdown", absent=True)
        checked.text("stands_for")
        checked.maps(Decoding, "decodings")
        checked.count("max_prompt_tokens")

    def decoding_at(self, scale: Scale) -> Decoding:
        """How its replies are decoded at a scale."""
        return self.decodings.get(scale.name, self.decoding)

    def sized(self, scale: Scale) -> Scale:
        """The scale with prompts as long as the suite's may be."""
        return replace(scale, max_prompt_tokens=max(scale.max_prompt_tokens, self.max_prompt_tokens))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A number about weights or policies: ``measure(before, after, examples)``, in a table of its own, never a Cell.

    ``before`` is the folder of the base model and ``after`` that of the stage; ``examples`` are the test items by task.
    """

    name: str
    version: int
    unit: str
    measure: Callable[[Path, Path, Mapping[str, tuple[Example, ...]]], float]
    cite: str = ""

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("version")
        checked.text("unit")
        checked.functions("measure")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Tasks in their order, each with its epochs, and the suites and probes that are watched but never trained."""

    name: str
    tasks: tuple[str, ...]
    epochs: Mapping[str, int]
    general: tuple[str, ...]
    probes: tuple[str, ...] = ()
    cite: str = ""

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.names("tasks", least=1)
        checked.names("general")
        checked.names("probes")
        if not isinstance(self.epochs, Mapping) or set(self.epochs) != set(self.tasks):
            checked.refuse("epochs", "a number of epochs for each task")
        if any(type(count) is not int or count < 1 for count in self.epochs.values()):
            checked.refuse("epochs", "whole numbers of 1 or more")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training run of a paradigm: its name and the tasks whose training data it sees.

    ``shares`` says which part of a task's presentations the stage has, such as 0.1 for a replayed task; 1 without it.
    """

    name: str
    tasks: tuple[str, ...]
    shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.names("tasks", least=1)
        checked.numbers("shares", most=1)
        if not set(self.shares) <= set(self.tasks):
            checked.refuse("shares", "a share of tasks that the stage has")


def one_by_one(stream: Stream) -> tuple[Stage, ...]:
    """A stage for each task, in the stream's order."""
    return tuple(Stage(name=task, tasks=(task,)) for task in stream.tasks)


def joint(stream: Stream) -> tuple[Stage, ...]:
    """One stage on the union of all tasks; what needs an order is undefined after it."""
    return (Stage(name="joint", tasks=stream.tasks),)


@dataclass(frozen=True, kw_only=True)
class Learner:
    """How weights are trained: ``train(job)`` does one stage, ``work(shown, paradigm, scale)`` says what that takes.

    ``obeys`` names the fields of Paradigm and Scale that ``train`` reads: these, and no others, are in a checkpoint's
    key, and a paradigm that sets another one is refused. ``scores`` says whether training marks replies, so that the
    scorer is in the key too. ``version`` is raised by hand whenever the same fields would train otherwise.
    """

    name: str
    version: int
    train: Callable[[Job], Trained]
    work: Callable[[int, Paradigm, Scale], Work]
    obeys: frozenset[str]
    scores: bool = False

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("version")
        checked.functions("train", "work")
        checked.kinds(bool, "scores")
        _known_fields(checked, self.obeys)

    @property
    def takes_all_devices(self) -> bool:
        """Whether ``train`` is called once however many ranks a scale has, because it starts its own."""
        return bool(getattr(self.train, "takes_all_devices", False))


@dataclass(frozen=True, kw_only=True)
class Selector:
    """Which examples a stage keeps: ``choose(job)`` gives a Verdict for each; ``work`` and ``obeys`` as a Learner's.

    It marks replies, so the scorer is in the key of what it selects for.
    """

    name: str
    version: int
    choose: Callable[[Job], Sequence[Verdict]]
    work: Callable[[int, Paradigm, Scale], Work]
    obeys: frozenset[str]

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("version")
        checked.functions("choose", "work")
        _known_fields(checked, self.obeys)


@dataclass(frozen=True, kw_only=True)
class Paradigm:
    """A way to post-train: which data a stage sees, what it keeps, which learner learns and how it asks.

    ``kl`` is the coefficient in nats towards ``reference`` ("previous" stage or "base"). ``rate`` multiplies the
    scale's learning rate for the learner. With an ``adapter`` that alone is trained, and no weight of the base. A field
    that the learner does not obey must stay as it is.
    """

    name: str
    learner: Learner
    style: Style
    stages: Callable[[Stream], tuple[Stage, ...]] = one_by_one
    select: Selector | None = None
    kl: float = 0.0
    reference: str = "previous"
    rate: float = 1.0
    adapter: Lora | None = None
    cite: str = ""

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.kinds(Learner, "learner")
        checked.kinds(Style, "style")
        checked.kinds(Selector, "select", absent=True)
        checked.functions("stages")
        checked.one_of("reference", *REFERENCES)
        checked.number("kl")
        checked.number("rate", above=True)
        checked.kinds(Lora, "adapter", absent=True)
        for name in ("kl", "reference", "rate", "adapter"):
            if name not in self.learner.obeys and getattr(self, name) != getattr(Paradigm, name):
                raise UserError(
                    f"Paradigm {self.name!r} sets {name} to {getattr(self, name)!r}, which learner {self.learner.name}"
                    " does not read: leave it out, or use a learner that obeys it"
                )


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Greedy decoding with a named length in new tokens; part of a cell's identity.

    A reply ends before the first of the ``stop`` texts that it holds; the twin's and the paper's decodings have none.
    """

    name: str
    max_new_tokens: int
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.count("max_new_tokens")
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) and text for text in self.stop):
            checked.refuse("stop", "a tuple of texts")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The size of an experiment: model, precision, batches, rollouts, lengths, rates, limits, engine and processes.

    ``train_items`` is how many training presentations a stage has (items times epochs), None for all the data;
    ``test_items`` bounds the items of a cell. ``rates`` maps a learner's name to its learning rate, ``seconds`` to what
    a step of it costs, and a style's name to what an item costs. ``micro_batch`` bounds the sequences of one forward
    pass (None: a whole update), ``attention`` chooses the layout of shared-prefix GRPO. ``rollout_engine`` is what
    samples in training; vLLM does so in ``rollout_memory`` of a GPU, and a token's weight for what is left between it
    and the policy is at most ``importance_cap`` (``harness.training.rollouts``). ``ranks`` is the number of
    training processes of their own, 0 for training in place; several share every update, each on a GPU of its own, and
    as many engines are asked side by side. ``observers`` is the number of processes which observe a stage while the
    next one is trained.
    """

    name: str
    model: str
    precision: str
    sft_batch: int
    rollouts: int
    prompts_per_update: int
    updates_per_rollout_batch: int
    decodings: Mapping[str, Decoding]
    rates: Mapping[str, float]
    train_items: int | None
    test_items: int | None
    eval_batch: int
    min_pixels: int
    max_pixels: int
    max_prompt_tokens: int
    top_p: float = 1.0
    micro_batch: int | None = None
    attention: str = "dense"
    rollout_engine: str = "transformers"
    rollout_memory: float = 0.3
    importance_cap: float = 3.0
    engine: str = "transformers"
    ranks: int = 0
    observers: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    cite: str = ""

    def __post_init__(self) -> None:
        checked = Checked(self)
        checked.name("engine")
        checked.text("model")
        checked.one_of("precision", *PRECISIONS)
        checked.one_of("attention", *ATTENTIONS)
        counts = ("sft_batch", "rollouts", "prompts_per_update", "updates_per_rollout_batch", "eval_batch")
        checked.count(*counts, "min_pixels", "max_pixels", "max_prompt_tokens")
        checked.count("train_items", "test_items", "micro_batch", absent=True)
        checked.count("ranks", "observers", least=0)
        checked.one_of("rollout_engine", *ROLLOUT_ENGINES)
        checked.number("top_p", "rollout_memory", most=1, above=True)
        checked.number("importance_cap", above=True)
        if self.rollout_engine == "vllm" and self.ranks < 1:
            checked.refuse("ranks", "1 or more where vLLM samples, for it stays in a process")
        if self.min_pixels > self.max_pixels:
            checked.refuse("min_pixels", "no more than max_pixels")
        checked.maps(Decoding, "decodings")
        checked.numbers("rates")
        checked.numbers("seconds")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a user asked for. Its id covers what moves a number, and nothing else.

    ``left_out`` are the items of official data, as (task, id), that the run does without because they are broken.
    """

    paradigm: Paradigm
    stream: Stream
    scale: Scale
    seed: int = 0
    limit: int | None = None
    split: str = "test"
    data: str | None = None
    left_out: tuple[tuple[str, str], ...] = ()


def _known_fields(checked: Checked, obeys: frozenset[str]) -> None:
    known = set(Paradigm.__dataclass_fields__) | set(Scale.__dataclass_fields__)
    if not isinstance(obeys, frozenset) or not obeys <= known:
        checked.refuse("obeys", "a frozenset of names of fields of Paradigm and Scale")


def stage_seed(run_seed: int, stage: str) -> int:
    """A stage's seed: a function of the run's seed and the stage's name alone.

    The weights have no part in it: a last digit that another CPU rounds otherwise must not become another order of
    data, and the arms of one seed share theirs.
    """
    return int(digest([run_seed, stage])[:8], 16) % (2**31)


__all__ = [
    "OWN_STYLE", "SPLITS", "Breakdown", "BrokenItem", "Cell", "Decoding", "Detail", "Example", "Job", "Learner", "Lora",
    "Mark", "Observation", "Paradigm", "Part", "Probe", "ProbeValue", "Progress", "Reply", "Run", "Scale", "Scorer",
    "Selector", "Source", "Stage", "Stream", "Style", "Suite", "Task", "Trained", "UserError", "Verdict", "Work",
    "broken", "collecting", "digest", "joint", "messages", "name_of", "one_by_one", "plain", "replace", "slug",
    "stage_seed",
]  # fmt: skip
