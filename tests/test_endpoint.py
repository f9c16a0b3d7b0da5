"""The engine for OpenAI-compatible servers: the replies of transformers, every setting explicit, faults in one line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_openai import FakeServer, answered, by_transformers, pictures_of
from PIL import Image

from harness import registry
from harness.asking.engines import Generation, Prompt, open_engine
from harness.asking.engines.endpoint import ADDRESS, KEY, Endpoint
from harness.asking.engines.transformers import TransformersEngine
from harness.asking.evaluate import open_pictures
from harness.asking.styles import COT
from harness.core import Decoding, Task, UserError, replace
from harness.scales import TWIN, model_folder
from harness.weights import weights_digest

BASE = model_folder(TWIN)
SERVES = weights_digest(BASE)
SCALE = replace(TWIN, name="there", engine="endpoint", eval_batch=4)
LONG, SHORT = TWIN.decodings["cot"], Decoding(name="greedy-4", max_new_tokens=4)
VISION = {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"}


def asked(each: int = 3) -> list[Prompt]:
    """Prompts with no, one and several pictures."""
    tasks = [registry.typed(Task, name) for name in ("mmlu-pro", "gqa", "mmmu")]
    return [(COT.ask(task, example), open_pictures(example)) for task in tasks for example in task.load("test", each)]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with FakeServer(SERVES, by_transformers(BASE, TWIN), key="secret") as found:
        yield found


@pytest.fixture
def engine(server: FakeServer) -> Endpoint:
    server.requests.clear()
    return Endpoint(server.url, BASE, SCALE, "secret")


@pytest.fixture(scope="module")
def here() -> TransformersEngine:
    return TransformersEngine(BASE, TWIN)


def test_replies_lengths_and_cuts_are_those_of_transformers(engine: Endpoint, here: TransformersEngine) -> None:
    prompts = asked()
    found = engine.generate(prompts, LONG)
    assert found == here.generate(prompts, LONG)
    assert len({reply.text for reply in found}) > 5
    cut = engine.generate(prompts, SHORT)
    assert cut == here.generate(prompts, SHORT)
    assert all(reply.truncated and reply.tokens == 4 for reply in cut)


def test_a_reply_ends_before_the_first_stop_text(engine: Endpoint, here: TransformersEngine) -> None:
    prompts = asked(1)
    whole = here.generate(prompts, LONG)
    middle = tuple({reply.text[len(reply.text) // 2 :][:3] for reply in whole})
    found = engine.generate(prompts, replace(LONG, stop=middle))
    assert [(reply.text, reply.truncated) for reply in found] == [
        (reply.text[: min(reply.text.find(said) for said in middle if said in reply.text)], False) for reply in whole
    ]


def test_nothing_is_left_to_the_server(engine: Endpoint, server: FakeServer) -> None:
    engine.generate(asked(1)[:1], replace(LONG, stop=("So",)))
    (body, headers), tokenizer = server.requests[0], engine.processor.tokenizer
    assert headers["Authorization"] == "Bearer secret"
    assert {tokenizer.decode([int(number)]) for number in body.pop("logit_bias")} == VISION
    assert body.pop("stop_token_ids") == [tokenizer.eos_token_id]
    assert body.pop("messages")
    assert body == {
        "model": SERVES, "temperature": 0.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "seed": 0, "n": 1,
        "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "ignore_eos": False,
        "skip_special_tokens": True, "max_tokens": 32, "stop": ["So"],
    }  # fmt: skip


def test_samples_have_seeds_of_their_own_and_come_again(engine: Endpoint, server: FakeServer) -> None:
    prompts = asked(1)
    first = engine.sample(prompts, LONG, 3, 7, 0.9)
    seeds = [body["seed"] for body, _ in server.requests]
    assert [len(group) for group in first] == [3, 3, 3]
    assert len(set(seeds)) == 9
    assert {(body["temperature"], body["top_p"], body["n"]) for body, _ in server.requests} == {(1.0, 0.9, 1)}
    assert engine.sample(prompts, LONG, 3, 7, 0.9) == first
    server.requests.clear()
    engine.sample(prompts, LONG, 3, 8, 0.9)
    assert not {body["seed"] for body, _ in server.requests} & set(seeds)
    assert all(0 < reply.tokens <= 32 for group in first for reply in group), "each reply's own tokens"


def turned(picture: Image.Image) -> Image.Image:
    """A picture whose file says that it is to be turned."""
    exif, box = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    picture.save(box, "PNG", exif=exif)
    return Image.open(box)


def seen_through(picture: Image.Image) -> Image.Image:
    """A picture whose left half is transparent."""
    clear = picture.convert("RGBA")
    clear.paste((10, 200, 30, 0), (0, 0, 24, 48))
    return clear


@pytest.mark.parametrize(
    "change",
    [
        turned,
        seen_through,
        lambda picture: picture.convert("P"),
        lambda picture: picture.convert("L"),
        lambda picture: picture.convert("CMYK"),
    ],
)
def test_the_server_sees_the_pixels_that_the_processor_here_sees(
    engine: Endpoint, server: FakeServer, change: Any
) -> None:
    picture = change(asked(1)[1][1][0])
    engine.generate([("What is it?", (picture,))], SHORT)
    (sent,) = pictures_of(server.requests[0][0])
    assert sent.mode == "RGB"
    assert sent.tobytes() == picture.convert("RGB").tobytes()
    assert not dict(sent.getexif())


def test_special_tokens_in_data_stay_text_and_turns_stay_turns(
    engine: Endpoint, server: FakeServer, here: TransformersEngine
) -> None:
    picture = asked(1)[1][1]
    prompts: list[Prompt] = [
        ("What ends <|im_end|> or <|image_pad|>?", ()),
        ((("system", "Be brief."), ("user", "One?"), ("assistant", "Two."), ("user", "<image 1> Three?")), picture),
    ]
    assert engine.generate(prompts, LONG) == here.generate(prompts, LONG)
    turns = {turn["role"] for body, _ in server.requests for turn in body["messages"]}
    assert turns == {"system", "user", "assistant"}


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_sent(server: FakeServer) -> None:
    server.requests.clear()
    tight = Endpoint(server.url, BASE, replace(SCALE, max_prompt_tokens=20), "secret")
    with pytest.raises(UserError, match="scale there allows 20"):
        tight.generate(asked(1), LONG)
    assert not server.requests


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "fails": ({"fault": "fails"}, "answers HTTP 500"),
    "ends": ({"fault": "goes"}, "cannot be reached"),
    "babbles": ({"fault": "babbles"}, "answers nothing that can be read"),
    "says nothing": ({"fault": "says nothing"}, "lacks what an OpenAI-compatible server gives"),
    "sees another size": ({"answer": lambda body: answered("", 1, 9)}, "reads 9 tokens in a prompt that has"),
    "sends the key elsewhere": ({"fault": "sends elsewhere"}, "answers HTTP 302"),
    "wants another key": ({"key": "other"}, "refuses the key .* in CPT_HARNESS_ENDPOINT_KEY"),
    "serves another model": ({"serves": "gpt-5"}, f"serves gpt-5: serve this model under the name {SERVES}"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_server_that_is_one_line(what: str) -> None:
    options, words = FAULTS[what]
    given = {"serves": SERVES, "answer": lambda body: answered("yes"), **options}
    with FakeServer(**given) as server, pytest.raises(UserError, match=words) as refused:
        Endpoint(server.url, BASE, SCALE, "secret").generate(asked(1)[:2], SHORT)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_address_and_the_key_stand_in_the_environment(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    with pytest.raises(UserError, match="CPT_HARNESS_ENDPOINT is not set"):
        open_engine(BASE, SCALE)
    monkeypatch.setenv(KEY, "secret")
    for wrong, words in (
        ("file:///etc/passwd", "no address"),
        ("127.0.0.1:80", "no address"),
        ("http://127.0.0.1:9/v1", "cannot be reached"),
    ):
        monkeypatch.setenv(ADDRESS, wrong)
        with pytest.raises(UserError, match=words):
            open_engine(BASE, SCALE)
    monkeypatch.setenv(ADDRESS, server.url)
    with open_engine(BASE, SCALE) as engine:
        assert isinstance(engine.generate(asked(1)[:1], SHORT)[0], Generation)
        assert (engine.name, engine.device_kind) == ("endpoint", "elsewhere")
