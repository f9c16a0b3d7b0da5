"""What TRL uses of vLLM, by transformers: it expands pictures' marks and keeps their features as vLLM does.

A mark of a picture is replaced by as many as the picture has tokens, whether or not more of them follow; the features
of a picture that was seen before are not computed again until the encoder's cache is dropped; pictures have the size
that the engine was made with, or else that of the model's folder.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch

from harness.asking.engines.transformers import load_model
from harness.lora import base_of, is_adapter


class FakeLLM:
    """A model in this process; ``made`` has every one, ``calls`` what it was asked, in order."""

    made: ClassVar[list[FakeLLM]] = []

    def __init__(self, **given: Any) -> None:
        """Load the model of a folder."""
        from transformers import AutoProcessor

        self.given, self.calls = given, list[Any]()
        folder = Path(given["model"])
        self.processor = AutoProcessor.from_pretrained(base_of(folder) if is_adapter(folder) else folder)
        if "mm_processor_kwargs" in given:
            self.processor.image_processor.size = given["mm_processor_kwargs"]["size"]
        self.model = load_model(folder, "float32").eval()
        self.features: dict[str, Any] = {}
        runner = SimpleNamespace(reload_weights=self._reload, model=SimpleNamespace(load_weights=self._reload))
        executor = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner))
        self.llm_engine = SimpleNamespace(model_executor=executor, reset_encoder_cache=self._forget)
        FakeLLM.made.append(self)

    def _reload(self, weights: Any = None, weights_iterator: Any = None) -> None:
        state, found = self.model.state_dict(), dict(weights if weights_iterator is None else weights_iterator)
        assert set(found) <= set(state), sorted(set(found) - set(state))[:3]
        self.calls.append(("weights", len(found)))
        self.model.load_state_dict(found, strict=False)

    def _forget(self) -> None:
        self.calls.append("forget features")
        self.features.clear()

    def reset_prefix_cache(self) -> None:
        """Nothing is kept of prompts."""
        self.calls.append("forget prompts")

    def reset_mm_cache(self) -> None:
        """Nothing is kept of pixels."""
        self.calls.append("forget pixels")

    def wake_up(self, tags: list[str]) -> None:
        """Noted."""
        self.calls.append(("wake", *tags))

    def sleep(self, level: int) -> None:
        """Noted."""
        self.calls.append(("sleep", level))

    def generate(self, prompts: Sequence[Any], sampling_params: Any, use_tqdm: bool) -> list[Any]:
        """A reply to each prompt."""
        self.calls.append(("generate", len(prompts)))
        several = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
        with torch.inference_mode():
            return [self._reply(prompt, how) for prompt, how in zip(prompts, several, strict=True)]

    def _reply(self, prompt: Any, how: Any) -> Any:
        pictures = prompt.get("multi_modal_data", {}).get("image", [])
        ids, positions, embeds = self._read(
            prompt["prompt_token_ids"], pictures if isinstance(pictures, list) else [pictures]
        )
        draw, past, reply, said = torch.Generator().manual_seed(how.seed or 0), None, [], []
        while len(reply) < how.max_tokens and not (reply and reply[-1] in how.stop_token_ids):
            out = self.model.model.language_model(
                inputs_embeds=embeds, position_ids=positions, past_key_values=past, use_cache=True
            )
            past, logits = out.past_key_values, self.model.lm_head(out.last_hidden_state[0, -1])
            for token, bias in how.logit_bias.items():
                logits[token] += bias
            scores = (logits / (how.temperature or 1.0)).log_softmax(-1)
            token = int(torch.multinomial(scores.exp(), 1, generator=draw)) if how.temperature else int(scores.argmax())
            reply.append(token)
            said.append({token: SimpleNamespace(logprob=float(scores[token]), rank=1)})
            positions = positions.amax().expand(3, 1, 1) + 1
            embeds = self.model.model.language_model.embed_tokens(torch.tensor([[token]]))
        return SimpleNamespace(prompt_token_ids=ids, outputs=[SimpleNamespace(token_ids=reply, logprobs=said)])

    def _read(self, given: Sequence[int], pictures: Sequence[Any]) -> tuple[list[int], Any, Any]:
        """The tokens of a prompt as vLLM expands them, their positions, and what the model sees in their places."""
        ids, mark, places, start = list(given), self.processor.image_token_id, [], 0
        grids, features = [], []
        for picture in pictures:
            made = self.processor.image_processor(images=[picture], return_tensors="pt")
            name = hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
            if name not in self.features:
                found = self.model.model.get_image_features(made["pixel_values"], made["image_grid_thw"])
                self.features[name] = torch.cat(list(found.pooler_output))
            count = len(self.features[name])
            place = ids.index(mark, start)
            ids[place : place + 1] = [mark] * count
            start = place + count
            places += range(place, start)
            grids.append(made["image_grid_thw"])
            features.append(self.features[name])
        tokens, types = torch.tensor([ids]), torch.zeros(1, len(ids), dtype=torch.int)
        embeds = self.model.model.language_model.embed_tokens(tokens)
        if pictures:
            types[0, places] = 1
            embeds[0, places] = torch.cat(features)
        grid = torch.cat(grids) if grids else None
        if list(given).count(mark) > len(pictures):  # damaged: marks are left over, and belong to no grid
            return ids, torch.arange(len(ids)).expand(3, 1, -1), embeds
        positions, _ = self.model.model.get_rope_index(tokens, types, image_grid_thw=grid)
        return ids, positions, embeds


class FakeParams(SimpleNamespace):
    """How a reply is decoded; an unknown setting is refused as vLLM does."""

    KNOWN: ClassVar[set[str]] = {
        "n", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
        "max_tokens", "logprobs", "seed", "logit_bias", "stop_token_ids", "detokenize",
    }  # fmt: skip

    def __init__(self, **given: Any) -> None:
        """Take the settings."""
        if unknown := set(given) - self.KNOWN:
            raise TypeError(f"unexpected {unknown}")
        super().__init__(**{"seed": None, "logit_bias": {}, "stop_token_ids": [], **given})


def import_utils() -> Any:
    """TRL's module that knows what is installed; TRL's package does not show it as an attribute."""
    return importlib.import_module("trl.import_utils")


def install(monkeypatch: Any) -> None:
    """Have TRL and this project take the fake for vLLM."""
    from trl.generation import vllm_generation

    FakeLLM.made.clear()
    for module in (import_utils(), vllm_generation):
        monkeypatch.setattr(module, "is_vllm_available", lambda *given: True)
    monkeypatch.setattr(vllm_generation, "LLM", FakeLLM, raising=False)
    monkeypatch.setattr(vllm_generation, "SamplingParams", FakeParams, raising=False)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):  # TRL sets them for vLLM
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
