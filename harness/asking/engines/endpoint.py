"""Replies of an OpenAI-compatible server that serves weights under their digest: any address, or a server of ours."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.asking.chat import messages
from harness.asking.engines import Generation, Prompt
from harness.asking.engines.kinds import ENDPOINT
from harness.asking.engines.pictures import data_url
from harness.asking.engines.prompts import own_words, prompt_lengths, refuse_long
from harness.asking.engines.transformers import declared_ends, forbidden_tokens, load_processor
from harness.core import Decoding, Scale, UserError, digest
from harness.values import cut
from harness.weights import weights_digest

ADDRESS, KEY = "CPT_HARNESS_ENDPOINT", "CPT_HARNESS_ENDPOINT_KEY"
PATIENCE = 3600.0  # seconds for one reply, the wait for its turn included
# A reply is a function of the model and of what stands here; a server fills in nothing of its own.
NEUTRAL = {
    "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "n": 1, "skip_special_tokens": True, "ignore_eos": False,
}  # fmt: skip
Row = Mapping[str, Any]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: a redirect would take the key along."""

    def redirect_request(self, *given: Any) -> None:
        """No."""


class Endpoint:
    """A model behind an address, which must serve the weights of ``folder``. It is an ``Engine``."""

    name = ENDPOINT.name
    version = ENDPOINT.version
    device_kind = "elsewhere"

    def __init__(self, url: str, folder: Path, scale: Scale, key: str = "", serves: str | None = None) -> None:
        """Name the server; ``serves`` is what it calls the weights, their digest where it is not given.

        Raises:
            UserError: where it cannot be reached, refuses the key, or serves other weights.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{cut(url, 80)!r} is no address of a server: give one such as http://127.0.0.1:8000/v1")
        direct = [urllib.request.ProxyHandler({})] if parts.hostname in ("127.0.0.1", "localhost") else []
        self._web = urllib.request.build_opener(NoRedirect(), *direct)
        self.url, self._key, self.scale = url.rstrip("/"), key, scale
        self.serves = serves or weights_digest(folder)
        self.processor = load_processor(folder, scale)
        bias = {str(number): -100 for number in forbidden_tokens(self.processor)}
        ends = declared_ends(folder, self.processor.tokenizer)
        self.settings = {**NEUTRAL, "model": self.serves, "logit_bias": bias, "stop_token_ids": ends}
        self.check()

    def check(self) -> None:
        """Raise UserError where the server does not serve the weights."""
        listed = self._send(f"{self.url}/models", None)
        serves = [str(one["id"]) for one in _read(lambda: listed["data"])]
        if self.serves not in serves:
            found = cut(", ".join(serves), 100) or "nothing"
            raise UserError(f"{self.url} serves {found}: serve this model under the name {self.serves}")

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """A greedy reply for each prompt, in their order."""
        greedy = {"temperature": 0.0, "top_p": 1.0, "seed": 0}
        return self._replies(prompts, decoding, [(place, greedy) for place in range(len(prompts))])

    def sample(
        self, prompts: Sequence[Prompt], decoding: Decoding, rollouts: int, seed: int, top_p: float
    ) -> list[list[Generation]]:
        """``rollouts`` replies for each prompt at temperature 1; each has a seed of its own, drawn from ``seed``."""
        asked = [(place, number) for place in range(len(prompts)) for number in range(rollouts)]
        seeds = [int(digest([seed, *one])[:8], 16) % 2**31 for one in asked]
        free = [{"temperature": 1.0, "top_p": top_p, "seed": one} for one in seeds]
        replies = self._replies(prompts, decoding, [(place, one) for (place, _), one in zip(asked, free, strict=True)])
        return [replies[start : start + rollouts] for start in range(0, len(replies), rollouts)]

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def _replies(
        self, prompts: Sequence[Prompt], decoding: Decoding, asked: Sequence[tuple[int, Row]]
    ) -> list[Generation]:
        """The replies to (number of a prompt, how it is decoded), so many at once as the scale's batch."""
        lengths = prompt_lengths(self.processor, prompts)
        refuse_long(prompts, lengths, self.scale)
        length = {"max_tokens": decoding.max_new_tokens, **({"stop": list(decoding.stop)} if decoding.stop else {})}
        pool = ThreadPoolExecutor(max_workers=self.scale.eval_batch)
        try:
            chats = list(pool.map(lambda prompt: chat(self.processor, prompt), prompts))

            def ask(one: tuple[int, Row]) -> Generation:
                place, how = one
                body = {**self.settings, **length, **how, "messages": chats[place]}
                return self._generation(self._send(f"{self.url}/chat/completions", body), lengths[place], decoding)

            return list(pool.map(ask, asked))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _generation(self, answer: Any, length: int, decoding: Decoding) -> Generation:
        """A reply as it was answered to a prompt of so many tokens."""
        choice, usage = _read(lambda: (answer["choices"][0], answer["usage"]))
        text, tokens, read = _read(
            lambda: (choice["message"]["content"] or "", int(usage["completion_tokens"]), int(usage["prompt_tokens"]))
        )
        if read != length:
            raise UserError(
                f"{self.url} reads {read} tokens in a prompt that has {length}: start it with this model's own chat"
                f" template and pictures of {self.scale.min_pixels} to {self.scale.max_pixels} pixels"
            )
        found = [text.find(said) for said in decoding.stop if said in text]
        truncated = _read(lambda: choice["finish_reason"]) == "length" and not found
        return Generation(text=text[: min(found, default=len(text))], tokens=tokens, truncated=truncated)

    def _send(self, url: str, body: Row | None) -> Any:
        """What the server answers. Raises UserError where it is gone, refuses, or answers nothing that can be read."""
        given = None if body is None else json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
        }
        request = urllib.request.Request(url, given, headers)  # noqa: S310 - http or https, see above
        try:
            with self._web.open(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as fault:
            with fault:
                raise self._refused(fault.code, fault.read(2000).decode("utf-8", errors="replace")) from fault
        except (OSError, http.client.HTTPException) as fault:
            raise self._gone(str(getattr(fault, "reason", fault)) or type(fault).__name__) from fault
        except ValueError as fault:
            raise UserError(f"{self.url} answers nothing that can be read: name an OpenAI-compatible server") from fault

    def _refused(self, code: int, said: str) -> UserError:
        if code in (401, 403):
            return UserError(f"{self.url} refuses the key (HTTP {code}): give the server's in {KEY}")
        return UserError(f"{self.url} answers HTTP {code} ({cut(said, 160)}): mend its settings")

    def _gone(self, reason: str) -> UserError:
        return UserError(f"{self.url} cannot be reached ({cut(reason, 100)}): start the server, or correct {ADDRESS}")


def chat(processor: Any, prompt: Prompt) -> list[Row]:
    """The turns of a prompt as OpenAI's API writes them, with its pictures where they stand."""
    text, pictures = prompt
    shown = iter(pictures)

    def part(given: Row) -> Row:
        return {"type": "image_url", "image_url": {"url": data_url(next(shown))}} if given["type"] == "image" else given

    turns = own_words(processor, messages(text, len(pictures)))
    return [{**turn, "content": [part(one) for one in turn["content"]]} for turn in turns]


def named_endpoint(folder: Path, scale: Scale) -> Endpoint:
    """The server whose address stands in ``CPT_HARNESS_ENDPOINT``, with the key in ``CPT_HARNESS_ENDPOINT_KEY``.

    Raises:
        UserError: where it is not set, cannot be reached, or serves other weights.
    """
    url = os.environ.get(ADDRESS, "")
    if not url:
        raise UserError(f"{ADDRESS} is not set: give the address of a server, such as http://127.0.0.1:8000/v1")
    return Endpoint(url, folder, scale, os.environ.get(KEY, ""))


def _read(look: Callable[[], Any]) -> Any:
    """A part of an answer. Raises UserError where it is not there."""
    try:
        return look()
    except (KeyError, IndexError, TypeError, ValueError) as fault:
        raise UserError("the server's answer lacks what an OpenAI-compatible server gives: name another") from fault


__all__ = ["Endpoint", "chat", "named_endpoint"]
