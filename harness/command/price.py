"""What a run takes on given hardware, by the model of ``harness.budget``: memory, host, disk, seconds of a unit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.budget import compute, memory, shape, storage
from harness.budget.compute import REPLY_SHARE, Lengths, Passes
from harness.budget.hardware import Hardware
from harness.budget.known_models import KNOWN
from harness.budget.memory import Memory, Way
from harness.budget.shape import Shape
from harness.command.check import in_words
from harness.core import OWN_STYLE, Paradigm, Run, Scale, UserError
from harness.run_inputs import run_styles, run_suites
from harness.scales import PLAIN, model_folder

MANY = 2**20  # presentations, to learn what an update is made of
TRANSFORMERS = "transformers"
VLLM_AT_ONCE = 256  # sequences that vLLM samples at a time, where its cache has room
VLLM_ALONE = 0.85  # of a card that evaluation gives it
# Tokens of a prompt's text with the chat template, and pixels of its picture: the twin's as its tokenizer makes them;
# of official data as Qwen2.5-VL's processor made COCO's, TextVQA's and VizWiz' pictures, others as their mean.
TWIN_TEXT, OFFICIAL_TEXT = 23, 128
TWIN_LONGEST = 128  # tokens: no prompt of the twins is as long
PIXELS = {"gqa": 307_200, "pope": 307_200, "textvqa": 780_000, "vizwiz": 960_000, "mmlu-pro": 0}
OTHER_PIXELS = 682_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """A run's model on some hardware: its shape, how it is trained there, and the memory that this takes.

    The memory is empty where a learner trains by means of its own. ``host`` is what all processes take of the host's
    memory. ``here`` is False where the model's files are not. vLLM is ``given`` a share of a card for rollouts.
    """

    hardware: Hardware
    shape: Shape
    way: Way
    memory: Memory
    host: float
    here: bool
    given: float = 0.0

    @property
    def lacks_cards(self) -> bool:
        """Whether the scale wants more GPUs than there are; a processor stands for one."""
        return self.way.devices > self.hardware.count

    @property
    def verdict(self) -> str:
        """Whether the memory suffices: fits, tight or no."""
        return "no" if self.lacks_cards else self.memory.verdict(self.hardware.card.memory)


def of(paradigm: Paradigm, scale: Scale, cards: Hardware, official: bool = False) -> Price:
    """The price of a paradigm at a scale, on official data or on the twins.

    Raises:
        UserError: where the model is neither here nor known.
    """
    model, here = shape_of(scale)
    longest = scale.max_prompt_tokens if official or scale.train_items is None else TWIN_LONGEST
    way = way_of(paradigm, scale, model, cards, min(scale.max_prompt_tokens, longest))
    ours = trains_here(paradigm)
    return Price(
        hardware=cards,
        shape=model,
        way=way,
        memory=memory.of(model, way) if ours else Memory(training={}, sampling={}, loading={}),
        host=memory.host(model, way) if ours else 0.0,
        here=here,
        given=scale.rollout_memory if way.replies == "vllm" else 0.0,
    )


def trains_here(paradigm: Paradigm) -> bool:
    """Whether this project's trainers train it: a learner that does not obey the precision has means of its own."""
    return "precision" in paradigm.learner.obeys


def learns_at(paradigm: Paradigm, scale: Scale) -> bool:
    """Whether a scale has what a paradigm needs: a learning rate for its learner and a decoding for its style."""
    rated = "rates" not in paradigm.learner.obeys or paradigm.learner.name in scale.rates
    return rated and paradigm.style.name in scale.decodings


def shape_of(scale: Scale) -> tuple[Shape, bool]:
    """The shape of a scale's model, and whether its files are here.

    Raises:
        UserError: where they are not, and its shape is not known either.
    """
    try:
        return shape.of_folder(model_folder(scale)), True
    except UserError:
        if scale.model not in KNOWN:
            raise
        return KNOWN[scale.model], False


def way_of(paradigm: Paradigm, scale: Scale, model: Shape, cards: Hardware, prompt: int) -> Way:
    """How a stage is trained there, with prompts of at most so many tokens.

    What an update is made of is what the learner says of the work that it does.
    """
    devices = max(1, scale.ranks)
    learner, half = paradigm.learner, scale.precision == "bfloat16" and not cards.on_cpu
    work = learner.work(MANY, paradigm, scale)
    group = max(1, round(work.rollouts / MANY))
    update = math.ceil((work.rollouts or MANY) / max(1, work.steps))
    mine = max(1, update // devices)
    micro = min(scale.micro_batch or mine, mine)
    new = scale.decodings[paradigm.style.name].max_new_tokens
    together = min(group, micro) if shares_prefix(paradigm, scale) else 1
    rows, row = math.ceil(micro / together), prompt + together * new
    adapter = paradigm.adapter
    pictures = math.ceil(_rollout_batch(paradigm, scale) / devices)
    return Way(
        devices=devices,
        adapter=model.adapter(adapter.rank, adapter.targets) if adapter and model.known else 0,
        base=2 if adapter and adapter.frozen == "bfloat16" else 4,
        half=half,
        tokens=rows * row,
        row=row,
        pictures=rows,
        pixels=scale.max_pixels,
        reference=(2 if devices > 1 and half else 4) if judges(paradigm) and adapter is None else 0,
        waiting=pictures if work.rollouts else 0,
        replies=scale.rollout_engine if work.rollouts else "",
        at_once=pictures * group,
        length=prompt + new,
    )


def shares_prefix(paradigm: Paradigm, scale: Scale) -> bool:
    """Whether the replies to a prompt are scored in one sequence: such a learner obeys the layout of attention."""
    return "attention" in paradigm.learner.obeys and scale.attention != PLAIN


def judges(paradigm: Paradigm) -> bool:
    """Whether a frozen reference scores what was sampled."""
    return paradigm.kl > 0 and "kl" in paradigm.learner.obeys


def _rollout_batch(paradigm: Paradigm, scale: Scale) -> int:
    """The prompts of a rollout batch."""
    several = "updates_per_rollout_batch" in paradigm.learner.obeys
    return scale.prompts_per_update * (scale.updates_per_rollout_batch if several else 1)


def units(run: Run, price: Price) -> dict[str, float]:
    """Seconds of a learner's step, of an item that is selected, and of one that is asked in a style; by task.

    Keys are the unit's name and the task's; empty where nothing can be said: the card's speed or the model's shape is
    not known, or there are fewer cards than the scale wants.
    """
    if not price.shape.known or not price.hardware.card.flops or price.lacks_cards:
        return {}
    return dict(_units(run, price))


def _units(run: Run, price: Price) -> Iterator[tuple[str, float]]:
    paradigm, scale = run.paradigm, run.scale
    official = scale.train_items is None or run.data is not None
    new = scale.decodings[paradigm.style.name].max_new_tokens
    cards = price.hardware if scale.engine != TRANSFORMERS else _of_cards(price.hardware, price.way.devices)
    batch = _at_once(price, scale.engine, VLLM_ALONE, scale.eval_batch)

    def sampled(lengths: Lengths, replies: int) -> float:
        return compute.sampling(price.shape, cards, lengths, 1, replies, batch, half=price.way.half)

    for name in run.stream.tasks:
        lengths = _lengths(name, price, scale, official, new)
        yield f"{paradigm.learner.name} {name}", _step(lengths, run, price)
        if paradigm.select is not None:
            yield f"{paradigm.select.name} {name}", sampled(lengths, scale.rollouts)
    for name in dict.fromkeys((*run.stream.tasks, *run.stream.general)):
        for style in run_styles(run):
            lengths = _lengths(name, price, scale, official, scale.decodings[style].max_new_tokens)
            yield f"{style} {name}", sampled(lengths, 1)
    for name, suite in run_suites(run).items():
        lengths = _lengths(suite.stands_for, price, scale, official, suite.decoding_at(scale).max_new_tokens)
        text = max(lengths.text, suite.max_prompt_tokens / 4)  # worked examples stand before the question
        longer = Lengths(text=text, patches=lengths.patches, reply=lengths.reply)
        yield f"{OWN_STYLE} {name}", sampled(longer, 1)


def _lengths(name: str, price: Price, scale: Scale, official: bool, new: int) -> Lengths:
    """The mean lengths of a task's prompts and of their replies."""
    pixels = PIXELS.get(name, OTHER_PIXELS) if official else scale.max_pixels
    inside = min(max(pixels, scale.min_pixels), scale.max_pixels) if pixels else 0
    patches = price.shape.patches(inside) if inside else 0
    return Lengths(text=OFFICIAL_TEXT if official else TWIN_TEXT, patches=patches, reply=REPLY_SHARE * new)


def _step(lengths: Lengths, run: Run, price: Price) -> float:
    """Seconds of an update on the cards that train, with the replies that it learns from."""
    paradigm, scale, way = run.paradigm, run.scale, price.way
    work = paradigm.learner.work(MANY, paradigm, scale)
    group, prompts = max(1, round(work.rollouts / MANY)), MANY / max(1, work.steps)
    several = scale.updates_per_rollout_batch > 1 and "updates_per_rollout_batch" in paradigm.learner.obeys
    plain = (several + judges(paradigm)) if work.rollouts else 0
    passes = Passes(plain=plain, frozen=way.adapter > 0, half=way.half)
    cards = _of_cards(price.hardware, way.devices)
    shared = shares_prefix(paradigm, scale)
    seconds = compute.seconds(cards, compute.trained(price.shape, lengths, prompts, group, passes, shared))
    pictures = prompts * (1 if shared else group) / cards.count
    seconds += pictures * passes.total * compute.windows(price.shape, lengths.patches) * cards.card.window_seconds
    if work.rollouts:
        batch = _at_once(price, way.replies, price.given, way.at_once)
        seconds += compute.sampling(price.shape, cards, lengths, prompts, group, batch, half=way.half)
    return seconds


def _at_once(price: Price, engine: str, share: float, otherwise: int) -> int:
    """How many sequences a card samples at a time: what vLLM's cache has room for, or what transformers is given."""
    if engine == TRANSFORMERS or price.hardware.on_cpu:
        return max(1, otherwise)
    room = share * price.hardware.card.memory - 2 * price.shape.parameters
    return max(1, min(VLLM_AT_ONCE, int(room / (2 * price.shape.kv_values * price.way.length))))


def assumed(price: Price) -> str:
    """What the modelled seconds stand on, in words; empty where there are none."""
    card = price.hardware.card
    if price.lacks_cards:
        return f"nothing: {price.hardware.name} lacks the cards; name others by --hardware"
    if not price.shape.known or not card.flops:
        return ""
    if price.hardware.on_cpu:
        return f"a model: {card.flops / 1e9:.0f} GFLOP/s, which one thread reached in {card.source}"
    return (
        f"a model: {card.share:.0%} of {card.flops / 1e12:.0f} TFLOP/s and of {card.bandwidth / 1e12:.2f} TB/s a card"
        f" ({card.source}), replies {REPLY_SHARE:.0%} as long as they may be; no model of this size was measured"
    )


def _of_cards(cards: Hardware, count: int) -> Hardware:
    return Hardware(card=cards.card, count=count, host=cards.host, here=cards.here)


def checkpoint(paradigm: Paradigm, model: Shape) -> int:
    """Bytes of one checkpoint: of all weights, or of an adapter that is kept as one."""
    return storage.checkpoint(_kept_and_trained(paradigm, model)[0])


def disk(paradigm: Paradigm, model: Shape, stages: int, cells: int) -> int:
    """Bytes of a run's checkpoints, resume states and rows."""
    kept, trained = _kept_and_trained(paradigm, model)
    return storage.of(kept, trained, stages, cells)


def _kept_and_trained(paradigm: Paradigm, model: Shape) -> tuple[int, int]:
    """The parameters of a checkpoint, and those of a resume state."""
    adapter = paradigm.adapter
    trained = model.adapter(adapter.rank, adapter.targets) if adapter and model.known else model.parameters
    return trained if adapter and adapter.keep == "adapter" else model.parameters, trained


def refuse_memory(price: Price, name: str) -> None:
    """Raise UserError where a card's memory, or the host's, cannot suffice."""
    cards, wanted = price.hardware, in_words(int(price.memory.peak))
    if price.lacks_cards:
        raise UserError(
            f"{name} takes {price.way.devices} GPUs, and {cards.name} has {0 if cards.on_cpu else cards.count}: use"
            " another scale, or hardware with as many"
        )
    if price.verdict == "no":
        where = "this machine" if cards.here and cards.on_cpu else f"a card of {cards.name}"
        raise UserError(
            f"{name} takes {wanted} of memory at its peak, {where} has {in_words(cards.card.memory)}:"
            " use larger cards, a scale with more ranks, a paradigm with an adapter, or a smaller model"
        )
    room = price.given * cards.card.memory
    if room and room < price.memory.engine:
        raise UserError(
            f"{name} gives vLLM {in_words(int(room))} of a card, and it wants {in_words(int(price.memory.engine))}:"
            f" use a scale whose rollout_memory is {price.memory.engine / cards.card.memory:.2f} or more"
        )
    if room and sum(price.memory.sampling.values()) - price.memory.engine + room > cards.card.memory:
        raise UserError(
            f"{name} gives vLLM {in_words(int(room))} of a card that training needs: use a scale whose rollout_memory"
            f" is {price.memory.vllm_share(cards.card.memory):.2f} or less"
        )
    if cards.host is not None and not cards.on_cpu and price.host > cards.host:
        raise UserError(
            f"{name} takes {in_words(int(price.host))} of the host's memory, {cards.name} has {in_words(cards.host)}:"
            " use a host with more"
        )


__all__ = ["Price", "assumed", "disk", "of", "refuse_memory", "shape_of", "units"]
