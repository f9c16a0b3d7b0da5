"""Another trainer, as small as can be: python foreign_trainer.py DATA PARENT OUT SEED [WORD].

Its weights are a function of the parent's, of the rows of the data and of the seed. WORD makes it do something wrong,
or wait with a child of its own in a session of its own, as launchers of ranks do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from safetensors.numpy import load_file, save_file


def main(data: Path, parent: Path, out: Path, seed: int, word: str = "") -> None:
    """Train, or do what the word says."""
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    print(f"read {len(rows)} rows", flush=True)
    if word == "waits" and not (out.parents[3] / "child").exists():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        (out.parents[3] / "child").write_text(str(child.pid))
        time.sleep(600)
    if word == "fails":
        print("Traceback: no card\nOutOfMemory: 3 GB wanted", file=sys.stderr)
        sys.exit(3)
    weights = load_file(parent / "model.safetensors")
    for row in rows:
        said = sum(map(ord, row["messages"][0]["content"] + row["messages"][1]["content"])) % 1009
        weights["w"] = (weights["w"] * 31 + (said + seed % 97) / 1009) % 1.0
    save_file(weights, out / "model.safetensors")
    if word == "tells":
        (out / "costs.json").write_text(json.dumps({"optimiser_steps": len(rows), "trained_tokens": 5 * len(rows)}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]), *sys.argv[5:6])
