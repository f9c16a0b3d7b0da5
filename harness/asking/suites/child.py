"""The child process in which lm-eval or VLMEvalKit asks and marks, so that what they do to a process stays in this one.

It imports nothing of this project, so that another Python may run it: ``python -I child.py``, and then one request as a
JSON object in each line of standard input, {"library", "do", "room", ...}. A request's items lie in the room as
items.jsonl; what is found is written there as answer.jsonl, and then a line with the library's version is said on
standard output. The process ends when its standard input does, in the middle of its work too.

``ask`` answers, for each item, {"key", "parts" or "turns", "until", "max_new_tokens"}; ``score`` answers {"key",
"read", "score"}, where ``read`` is null if the library could read no answer out of the item's ``reply``.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import random
import socket
import string
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
PACKAGES = {"lm-eval": "lm_eval", "ms-vlmeval": "vlmeval"}


def main() -> None:
    """Answer one request after another; whatever a library prints goes to standard error."""
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    socket.getaddrinfo = _no_network
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        request = json.loads(requests.get())
        print(json.dumps(_answered(request)), file=line, flush=True)


def _listen(requests: queue.Queue[str]) -> None:
    """Hear requests until the parent closes its end, or is gone."""
    for said in sys.stdin:
        requests.put(said)
    os._exit(0)


def _no_network(*asked: object, **named: object) -> Any:
    raise OSError("this process has no network")


def _answered(request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; the version of the library that did it, or None where it is not installed."""
    library, room = request["library"], Path(request["room"])
    try:
        version = metadata.version(library)
    except metadata.PackageNotFoundError:
        return {"version": None}
    if version != request["version"]:
        return {"version": version}
    random.seed(0)
    items = [json.loads(text) for text in (room / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    work = {
        "lm-eval": {"ask": ask_lm_eval, "score": score_lm_eval},
        "ms-vlmeval": {"ask": ask_vlmeval, "score": score_vlmeval},
    }
    rows = work[library][request["do"]](room, items, request)
    with (room / "answer.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return {"version": version}


# lm-eval: MMLU-Pro as its own task has it


def ask_lm_eval(room: Path, items: Rows, request: dict[str, Any]) -> Rows:
    """The chat of each item (lm-eval's own examples as earlier turns), and where and when its replies end."""
    found: Rows = []

    def noted(asked: Any) -> str:
        chat, settings = asked.args[:2]
        turns = [[turn["role"], turn["content"]] for turn in json.loads(chat)]
        key = asked.doc["question_id"]
        found.append(
            {"key": key, "turns": turns, "until": settings["until"], "max_new_tokens": settings["max_gen_toks"]}
        )
        return ""

    _lm_evaluated(room, items, request["shots"], noted, None)
    return found


def score_lm_eval(room: Path, items: Rows, request: dict[str, Any]) -> Rows:
    """What lm-eval's own filter reads in each reply, and its exact match. No worked examples: nothing is asked."""
    replies = {item["question_id"]: item.pop("reply") for item in items}
    shots = [{**items[0], "category": subject} for subject in {item["category"] for item in items}]
    results = _lm_evaluated(room, items, shots, lambda asked: replies[asked.doc["question_id"]], 0)
    rows = []
    for samples in results["samples"].values():
        for sample in samples:
            read = sample["filtered_resps"][0]
            key, score = sample["doc"]["question_id"], float(sample["exact_match"])
            rows.append({"key": key, "read": None if read == "[invalid]" else read, "score": score})
    return rows


def _lm_evaluated(room: Path, items: Rows, shots: Rows, reply: Callable[[Any], str], few: int | None) -> Any:
    """``simple_evaluate`` on the tasks of the items' subjects, with data of the hub's layout in the room.

    ``few`` is the number of worked examples, None for the task's own. Only a group of a file of ``include_path`` can
    give a registered task another ``dataset_path``.
    """
    import lm_eval
    from datasets import Dataset
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Mouth(LM):  # type: ignore[misc]
        """A model that is asked for texts alone; its chat template is JSON, for the harness applies the model's."""

        tokenizer_name = "none"

        def chat_template(self, chat_template: bool | str = False) -> str:
            return ""

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return json.dumps(chat_history)

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            return [reply(asked) for asked in requests]

        def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
            raise NotImplementedError("replies are texts: use a task that generates")

        loglikelihood_rolling = loglikelihood

    data, tasks = room / "hub", room / "tasks"
    for split, rows in (("test", items), ("validation", shots)):
        Dataset.from_list(rows).to_parquet(data / "data" / f"{split}-00000-of-00001.parquet")
    tasks.mkdir()
    subjects = sorted({f"mmlu_pro_{item['category'].replace(' ', '_')}" for item in items})
    group = {"group": "local", "task": [{"task": name, "dataset_path": str(data)} for name in subjects]}
    (tasks / "local.yaml").write_text(json.dumps(group), encoding="utf-8")  # JSON is YAML
    own = Path(lm_eval.__file__).parent / "tasks" / "mmlu_pro"  # the whole index of tasks would take half a minute
    return lm_eval.simple_evaluate(
        model=Mouth(),
        tasks=["local"],
        task_manager=TaskManager(include_path=[own, tasks], include_defaults=False),
        num_fewshot=few,
        apply_chat_template=True,
        bootstrap_iters=0,
        log_samples=True,
    )


# VLMEvalKit: POPE and MMMU as its own data sets have them


def ask_vlmeval(room: Path, items: Rows, request: dict[str, Any]) -> Rows:
    """Each item's texts and pictures, in the data set's own words and order; pictures are files of the room."""
    first: dict[str, int] = {}
    for item in items:
        item.update(_pictured(item, Path(request["pictures"]), first))
    data = _vlmeval_data(room, items, request["dataset"])
    return [
        {
            "key": items[place]["index"],
            "parts": [_part(room, part) for part in data.build_prompt(data.data.iloc[place])],
            "until": [],
            "max_new_tokens": None,
        }
        for place in range(len(data))
    ]


def _pictured(item: dict[str, Any], folder: Path, first: dict[str, int]) -> dict[str, str]:
    """The columns image and image_path: base64, or the number of the item that had the picture first; file names.

    VLMEvalKit runs lists of pictures and of names as Python (``toliststr``): they hold base64 and digests alone.
    """
    names = item["image"]
    paths = [f"{name}.png" for name in names]
    if len(names) == 1 and first.setdefault(names[0], item["index"]) != item["index"]:
        return {"image": str(first[names[0]]), "image_path": paths[0]}
    content = [base64.b64encode((folder / name).read_bytes()).decode() for name in names]
    return {
        "image": content[0] if len(names) == 1 else str(content),
        "image_path": paths[0] if len(names) == 1 else str(paths),
    }


def _part(room: Path, part: dict[str, str]) -> dict[str, str]:
    """A piece of a prompt: {"text"}, or {"picture"} with the file's name under the room."""
    return {"text": part["value"]} if part["type"] == "text" else {"picture": os.path.relpath(part["value"], room)}


def score_vlmeval(room: Path, items: Rows, request: dict[str, Any]) -> Rows:
    """What VLMEvalKit reads in each reply by exact matching, and its own mark.

    The replies are handed over in its pickle format, the only one that keeps them as they are: in a TSV a reply "None"
    is read as no reply, and "1" as a number.
    """
    from vlmeval.smp import dump, load

    replies = [item.pop("reply") for item in items]
    data = _vlmeval_data(room, items, request["dataset"])
    frame = data.data.copy()
    frame["prediction"] = replies
    scored = room / "scored"  # an empty folder: VLMEvalKit goes on from what it finds beside the file
    scored.mkdir()
    dump(frame, str(scored / "ours.pkl"))
    data.evaluate(str(scored / "ours.pkl"), model="exact_matching", nproc=1)
    if request["dataset"] == "POPE":
        return list(_yes_or_no(load(str(scored / "ours_auxmatch.tsv"))))
    hits = load(str(scored / "ours_exact_matching_result.tsv"))
    return list(_letters(frame, {int(row["index"]): (row["hit"], row["log"]) for row in hits.to_dict("records")}))


def _yes_or_no(table: Any) -> Iterator[dict[str, Any]]:
    for row in table.to_dict("records"):
        read = None if row["extracted"] == "Unknown" else row["extracted"]
        yield {"key": int(row["index"]), "read": read, "score": float(row["score"])}


def _letters(frame: Any, hits: dict[int, tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """The letters are inferred once more, by the function that marked: the table of marks does not hold them.

    "Z" is what VLMEvalKit reads in a refusal: no option. An open question's answer is its option A.
    """
    from vlmeval.dataset.utils.multiple_choice import MMMU_preproc, prefetch_answer

    for row in MMMU_preproc(frame.copy()).to_dict("records"):
        hit, log = hits[int(row["index"])]
        letter = prefetch_answer(row) or None
        right = row["answer"] if row["answer"] in list(string.ascii_uppercase) else "A"
        if (letter == right) != bool(hit) or (letter is None) != ("no GPT-based answer matching" in log):
            raise ValueError(f"item {row['index']} was marked {hit} ({log}), but {letter} is read in it")
        yield {"key": int(row["index"]), "read": None if letter == "Z" else letter, "score": float(hit)}


def _vlmeval_data(room: Path, items: Rows, name: str) -> Any:
    """The data set's own class on these items; its folder for pictures is the room."""
    os.environ["LMUData"] = str(room)  # noqa: SIM112 - its own spelling
    import pandas
    from vlmeval.dataset.image_mcq import MMMUDataset
    from vlmeval.dataset.image_yorn import ImageYORNDataset

    own = {"POPE": ImageYORNDataset, "MMMU": MMMUDataset}[name]

    class Local(own):  # type: ignore[misc, valid-type]
        """The items as they are. From a TSV an option "None" would be read as none, and one that is a number as 3.0."""

        def load_data(self, dataset: str) -> Any:
            return pandas.DataFrame(items)

    return Local(dataset=f"{name}_local")


if __name__ == "__main__":
    main()
