"""Rollouts by vLLM inside the training process (TRL's colocate), mended where TRL 1.16 and pictures do not fit.

What is mended, and why:

- A prompt is sent with one mark for each picture. TRL sends as many as the picture has tokens, and vLLM expands the
  first of them a second time (huggingface/trl #6294, vllm-project/vllm #57796): of 32 greedy replies ten were others.
- After each push of the weights what vLLM keeps of pictures is dropped; TRL drops the cache of text alone, and pictures
  seen before would keep the features of the old vision tower (huggingface/trl #7198).
- Pictures have the scale's size and weights its precision. TRL leaves both to the model's folder and to vLLM.
- An adapter's weights are added to copies of the base's; TRL merges them in place, which rounds the base each time.
- A picture is sent as its RGB pixels (``harness.asking.engines.pictures``).
- Each reply has a seed of its own, drawn from the job's, the step and its place: a stage that is resumed samples what
  it would have sampled. TRL seeds vLLM by the number of the process alone.

What is left between the two engines is corrected as TRL does: a token's loss is weighted by
min(pi_train / pi_vllm, ``scale.importance_cap``). vLLM's log-probabilities are those after top-p, so for top-p 0.99 the
ratio is up to 1% low. A first rollout batch whose mean |log pi_train - log pi_vllm| exceeds 0.05 nats ends the
stage: it is 0.001 where all is well, and 0.17 with damaged prompts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from harness.asking.engines.pictures import plain_picture
from harness.asking.engines.prompts import picture_size
from harness.asking.engines.transformers import declared_ends, forbidden_tokens, load_processor
from harness.core import Job, UserError, digest
from harness.lora import base_of, is_adapter
from harness.training.adapters import is_adapted, summed_weights

WORST = 0.05  # nats
INSTALL = 'pip install -c constraints-gpu.txt -e ".[vllm]"'


def rollout_settings(job: Job, processor: Any) -> dict[str, Any]:
    """TRL's settings for a job's rollouts: by transformers, or by vLLM where the scale says so.

    Raises:
        UserError: where vLLM is wanted and not installed.
    """
    scale = job.scale
    forbidden = forbidden_tokens(processor)
    if scale.rollout_engine == "transformers":
        # Replaces TRL's own list, which is the picture token alone; ours holds it and the other vision marks.
        return {"use_vllm": False, "generation_kwargs": {"suppress_tokens": forbidden}}
    import torch
    from trl.import_utils import is_vllm_available

    if not is_vllm_available():
        raise UserError(f"scale {scale.name} samples by vLLM, which is not installed: run `{INSTALL}`")
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_model_impl": "vllm",
        "vllm_tensor_parallel_size": 1,
        "vllm_enable_sleep_mode": torch.cuda.is_available(),  # vLLM gives its memory back while weights are trained
        "vllm_gpu_memory_utilization": scale.rollout_memory,
        "vllm_max_model_length": scale.max_prompt_tokens + scale.decodings[job.paradigm.style.name].max_new_tokens,
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": scale.importance_cap,
        "vllm_importance_sampling_clip_min": None,
        "generation_kwargs": {
            "logit_bias": dict.fromkeys(forbidden, -100.0),  # vLLM has no list of suppressed tokens
            "stop_token_ids": declared_ends(job.model, processor.tokenizer),
            "detokenize": False,
        },
    }


@contextmanager
def mended_rollouts(job: Job) -> Iterator[None]:
    """Within it, TRL's trainer makes its vLLM as this file says."""
    from trl.trainer import grpo_trainer

    stock = grpo_trainer.VLLMGeneration
    grpo_trainer.VLLMGeneration = mended(stock, job)
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = stock


def mended(kind: Any, job: Job) -> Any:
    """TRL's VLLMGeneration ``kind`` with the repairs of this file, for one job."""
    import torch
    from trl.generation import vllm_generation

    class Rollouts(kind):  # type: ignore[misc]
        seeds: Sequence[int] = ()  # one for each reply that is sampled next
        _llm_weights_sleeping: bool

        def _init_vllm(self) -> None:
            if not torch.cuda.is_available():
                os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; a share of the host's memory without it
            stock = vllm_generation.LLM
            vllm_generation.LLM = lambda **given: stock(**{**given, **_model(job)})
            try:
                super()._init_vllm()
            finally:
                vllm_generation.LLM = stock

        def sync_weights(self) -> None:
            if torch.cuda.is_available():
                super().sync_weights()
            else:  # vLLM's layers for CPUs repack their weights, and lose those that TRL would write into them
                runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
                runner.reload_weights(weights_iterator=self._iter_named_params())
                self.llm.reset_prefix_cache()
            self.llm.llm_engine.reset_encoder_cache()
            self.llm.reset_mm_cache()

        def _iter_named_params(self) -> Iterator[tuple[str, Any]]:
            if not is_adapted(self.model):
                yield from super()._iter_named_params()
                return
            for name, weight in summed_weights(self.model):
                yield name, weight.full_tensor() if hasattr(weight, "full_tensor") else weight

        def generate(
            self, prompts: list[list[int]], images: list[list[Any]], num_generations: int, profiler: Any = None
        ) -> tuple[Any, ...]:
            if self.enable_sleep_mode:
                if self._llm_weights_sleeping:
                    self.sync_weights()
                self.llm.wake_up(tags=["kv_cache"])
            mark = self.processing_class.image_token_id
            asked = [_asked(ids, shown, mark) for ids, shown in zip(prompts, images, strict=True)]
            with profiler or nullcontext():
                outputs = self.llm.generate(asked, sampling_params=self._decodings(len(asked)), use_tqdm=False)
            if self.enable_sleep_mode:
                self.llm.sleep(level=2)
                self._llm_weights_sleeping = True
            replies = [list(output.outputs[0].token_ids) for output in outputs]
            return prompts, replies, *vllm_generation.extract_logprobs(outputs)

        def _decodings(self, count: int) -> list[Any]:
            """How each reply is decoded; every setting is given here."""
            shared = {
                "n": 1, "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k, "min_p": 0.0,
                "repetition_penalty": self.repetition_penalty, "presence_penalty": 0.0, "frequency_penalty": 0.0,
                "max_tokens": self.max_completion_length, "logprobs": 0, **self.generation_kwargs,
            }  # fmt: skip
            if len(self.seeds) != count:
                raise RuntimeError(f"{len(self.seeds)} seeds for {count} replies")
            return [vllm_generation.SamplingParams(**shared, seed=seed) for seed in self.seeds]

    return Rollouts


def with_vllm(kind: Any, job: Job) -> Any:
    """The held GRPO trainer class ``kind``, sampling by vLLM; loss, KL and advantages stay as they are."""
    from trl import GRPOTrainer

    class Sampling(kind):  # type: ignore[misc]
        pictures: Sequence[list[Any]]  # of the prompts of the present rollout batch
        agreed = False

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            self.pictures = [row["images"] for row in inputs[:: self.num_generations]]
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            if not self.agreed:
                refuse_strangers(self._metrics["train"]["sampling/sampling_logp_difference/mean"][-1], job)
                self.agreed = True
            return output

        def _generate_single_turn(
            self, prompt_ids: list[list[int]], images: Any, fields: Any, rollouts: int, **rest: Any
        ) -> Any:
            count, rank = len(prompt_ids), self.accelerator.process_index
            shown = [self.pictures[place * len(self.pictures) // count] for place in range(count)]
            self.vllm_generation.seeds = seeds_of(job, self.state.global_step, rank, count)
            return GRPOTrainer._generate_single_turn(self, prompt_ids, shown, {}, rollouts, **rest)

    return Sampling


def _model(job: Job) -> dict[str, Any]:
    """What vLLM is told of a job's model beside what TRL tells it."""
    import torch

    scale = job.scale
    return {
        "model": str(base_of(job.model) if is_adapter(job.model) else job.model),  # the adapter comes with the weights
        "dtype": scale.precision,
        "load_format": "safetensors",
        "generation_config": "vllm",
        "enforce_eager": not torch.cuda.is_available(),  # compiling for a CPU takes minutes
        "mm_processor_kwargs": picture_size(load_processor(job.model, scale), scale),
        "limit_mm_per_prompt": {"image": max(1, *(len(example.images) for _, example in job.examples)), "video": 0},
    }


def _asked(ids: Sequence[int], pictures: Sequence[Any], mark: int) -> dict[str, Any]:
    """A prompt as vLLM wants it: one mark for each picture, which it expands itself.

    Raises:
        RuntimeError: where the marks are not as many as the pictures.
    """
    short = [token for place, token in enumerate(ids) if token != mark or place == 0 or ids[place - 1] != mark]
    if short.count(mark) != len(pictures):
        raise RuntimeError(f"a prompt has {short.count(mark)} marks for {len(pictures)} pictures")
    shown = [plain_picture(picture) for picture in pictures]
    return {"prompt_token_ids": short, **({"multi_modal_data": {"image": shown}} if shown else {})}


def seeds_of(job: Job, step: int, rank: int, count: int) -> list[int]:
    """A seed for each of so many replies of a rank at a step."""
    return [int(digest([job.seed, step, rank, place])[:8], 16) % 2**31 for place in range(count)]


def refuse_strangers(difference: float, job: Job) -> None:
    """Raise UserError where the policy and vLLM, in mean nats, do not agree on what was sampled."""
    if not difference <= WORST:  # NaN too
        raise UserError(
            f"stage {job.stage.name}: vLLM and the policy differ by {difference:.3f} nats a token, {WORST} is the most"
            " that is trained on: use the versions of constraints-gpu.txt, or rollout_engine transformers"
        )


__all__ = ["WORST", "mended", "mended_rollouts", "refuse_strangers", "rollout_settings", "seeds_of", "with_vllm"]
