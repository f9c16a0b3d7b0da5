"""Replies played through the libraries' own API, with nothing of this project: what our suites must be equal to.

python -I reference_suites.py lm-eval|POPE|MMMU FOLDER REPLIES.json RESULT.json. FOLDER has the hub's layout for lm-eval
and NAME_own.tsv, as VLMEvalKit keeps its data, for the others; REPLIES maps question_id or index to a text.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any


def no_network(*asked: object, **named: object) -> Any:
    """Refuse every connection."""
    raise OSError("no network")


def by_lm_eval(folder: Path, replies: dict[str, str]) -> dict[str, Any]:
    """The registered group mmlu_pro, with its own examples, asked through the whole index of tasks."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    asked: dict[str, Any] = {}

    class Played(LM):
        tokenizer_name = "none"

        def chat_template(self, chat_template: Any = False) -> str:
            return ""

        def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
            return json.dumps(chat_history)

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            for one in requests:
                asked[str(one.doc["question_id"])] = json.loads(one.args[0])
            return [replies[str(one.doc["question_id"])] for one in requests]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError("replies are texts: use a task that generates")

        loglikelihood_rolling = loglikelihood

    tasks = folder / "reference-tasks"
    tasks.mkdir()
    group = {"group": "own", "task": [{"group": "mmlu_pro", "dataset_path": str(folder)}]}
    (tasks / "own.yaml").write_text(json.dumps(group))
    found = lm_eval.simple_evaluate(
        model=Played(),
        tasks=["own"],
        task_manager=TaskManager(include_path=str(tasks)),
        apply_chat_template=True,
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = [sample for rows in found["samples"].values() for sample in rows]
    return {
        "score": found["results"]["mmlu_pro"]["exact_match,custom-extract"],
        "unread": sorted(str(s["doc"]["question_id"]) for s in samples if s["filtered_resps"][0] == "[invalid]"),
        "asked": asked,
    }


def by_vlmeval(name: str, folder: Path, replies: dict[str, str]) -> dict[str, Any]:
    """VLMEvalKit's data set on its own TSV; predictions as its inference loop would write them."""
    os.environ.update(LMUData=str(folder), PRED_FORMAT="tsv")
    from vlmeval.dataset.image_mcq import MMMUDataset
    from vlmeval.dataset.image_yorn import ImageYORNDataset
    from vlmeval.smp import dump, load

    data = {"POPE": ImageYORNDataset, "MMMU": MMMUDataset}[name](dataset=f"{name}_own")
    asked = {str(row["index"]): data.build_prompt(row) for _, row in data.data.iterrows()}
    frame = data.data.drop(columns=["image"])
    frame["prediction"] = [replies[str(index)] for index in frame["index"]]
    work = folder / "work"
    work.mkdir()
    dump(frame, str(work / "own.tsv"))
    table = data.evaluate(str(work / "own.tsv"), model="exact_matching", nproc=1)
    if name == "POPE":
        rows = load(str(work / "own_auxmatch.tsv"))
        unread = rows[rows["extracted"] == "Unknown"]["index"]
    else:
        rows = load(str(work / "own_exact_matching_result.tsv"))
        unread = rows[rows["log"].str.contains("Failed in Prefetch")]["index"]
    return {"table": table.to_dict("records"), "unread": sorted(map(str, unread)), "asked": asked}


def main() -> None:
    """Play the replies and write what came of it."""
    kind, folder, replies, out = sys.argv[1:]
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", MPLBACKEND="agg")
    socket.getaddrinfo = no_network
    said = json.loads(Path(replies).read_text())
    found = by_lm_eval(Path(folder), said) if kind == "lm-eval" else by_vlmeval(kind, Path(folder), said)
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
