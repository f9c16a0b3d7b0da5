"""Do two engines say the same? Replies are compared, and where one differs it is shown how near to a tie that began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.asking.engines import Generation, Prompt
from harness.asking.engines.transformers import TransformersEngine


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Where two replies to one prompt part: the prompt, the place of the first other token, and how near a tie it was.

    ``nats`` is |log p(one's token) - log p(other's token)| there, by the weights of one engine: two engines whose
    log-probabilities differ by d may part where it is less than 2 d, and nowhere else.
    """

    prompt: int
    place: int
    nats: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of ``count`` replies so many are equal in text, in length in tokens and in being cut off; and the gaps."""

    count: int
    texts: int
    tokens: int
    truncated: int
    gaps: tuple[Gap, ...]

    @property
    def whole(self) -> bool:
        """Whether all is equal."""
        return self.texts == self.tokens == self.truncated == self.count

    @property
    def worst(self) -> float:
        """The largest gap in nats; 0 where no text differs."""
        return max((gap.nats for gap in self.gaps), default=0.0)


def agreement(
    engine: TransformersEngine, prompts: Sequence[Prompt], ours: Sequence[Generation], theirs: Sequence[Generation]
) -> Agreement:
    """Compare the greedy replies of ``engine`` with those of another one with the same weights, prompt by prompt."""
    pairs = list(zip(ours, theirs, strict=True))
    differ = [number for number, (one, other) in enumerate(pairs) if one.text != other.text]
    return Agreement(
        count=len(prompts),
        texts=len(pairs) - len(differ),
        tokens=sum(one.tokens == other.tokens for one, other in pairs),
        truncated=sum(one.truncated == other.truncated for one, other in pairs),
        gaps=tuple(gap_of(engine, number, prompts[number], *pairs[number]) for number in differ),
    )


def gap_of(engine: TransformersEngine, number: int, prompt: Prompt, one: Generation, other: Generation) -> Gap:
    """The first token in which two different replies to a prompt differ, and the gap there by the engine's weights.

    The tokens are those of the replies' texts; a reply that was not cut off ends in the end mark.
    """
    import torch

    first, second = _tokens(engine, one), _tokens(engine, other)
    pairs = enumerate(zip(first, second, strict=False))
    place = next((place for place, (mine, its) in pairs if mine != its), None)
    if place is None:
        raise ValueError("the replies do not differ")
    inputs = engine.opened().inputs([prompt])
    shared = torch.tensor([first[:place]], dtype=torch.long, device=engine.model.device)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], shared], 1)
    for name, filler in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.full_like(shared, filler)], 1)
    with torch.inference_mode():
        scores = engine.model(**inputs, logits_to_keep=1).logits[0, -1].float().log_softmax(-1)
    return Gap(prompt=number, place=place, nats=abs(float(scores[first[place]] - scores[second[place]])))


def _tokens(engine: TransformersEngine, reply: Generation) -> list[int]:
    tokenizer = engine.processor.tokenizer
    ids: list[int] = tokenizer(reply.text, add_special_tokens=False)["input_ids"]
    return ids if reply.truncated else [*ids, tokenizer.eos_token_id]


__all__ = ["Agreement", "Gap", "agreement", "gap_of"]
