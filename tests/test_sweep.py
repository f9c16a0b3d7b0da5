"""A sweep: its file is refused by line, its legs share stages and wait for no other, its ledger is the records."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_world import COT, DIRECT, ENGINE, FAKE, HALF, PREFIX, STREAM, WATCHING, fake_run, make_model

from harness.core import Run, Stream, UserError, replace
from harness.run_inputs import run_id, run_stages
from harness.runner import run
from harness.scales import QWEN25_VL_7B, TWIN
from harness.sweep.grid import Grid, points, read_grid, words
from harness.sweep.here import do_here
from harness.sweep.ledger import ledger
from harness.sweep.leg import LOST, NOT_BEGUN, Place, in_words, last_code, note
from harness.sweep.legs import Asked, Leg, chain, legs_of
from harness.sweep.on_slurm import do_on_slurm

GOOD = 'paradigms = ["sft", "rft"]\nstreams = ["default"]\n'
WRONG = {
    "an unknown key": (GOOD + "\nseed = [1]\n", "line 4: seed is no key of a sweep: use paradigms,"),
    "no TOML": ('paradigms = ["sft"\nstreams', "line 2"),
    "no list": ('streams = ["default"]\nparadigms = "sft"\n', "line 2: paradigms wants a list of names"),
    "an empty list": (GOOD + "seeds = []\n", "line 3: seeds wants a list of whole numbers"),
    "a word for a seed": (GOOD + 'seeds = [0, "1"]\n', "line 3: seeds wants a list of whole numbers"),
    "a truth for a seed": (GOOD + "seeds = [true]\n", "line 3: seeds wants a list of whole numbers"),
    "a path for a name": (GOOD + 'scales = ["../twin"]\n', "line 3: scales '../twin' is no name"),
    "a name twice": (GOOD + "seeds = [1, 1]\n", "line 3: seeds names one thing twice"),
    "half a worker": (GOOD + "workers = 0.5\n", "line 3: workers wants a whole number"),
    "minus one GPU": (GOOD + "gpus = -1\n", "line 3: gpus wants a whole number"),
    "a list for Slurm": (GOOD + "\n[slurm]\npartition = ['a']\n", "line 4: slurm wants options of sbatch"),
    "a number for a folder": (GOOD + "data = 7\n", "line 3: data wants a text"),
    "no streams": ('paradigms = ["sft"]\n', "lacks streams"),
    "too many": (GOOD + f"seeds = {list(range(600))}\n", "asks for 1,200 runs"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_cannot_be_is_refused_with_its_line(tmp_path: Path, what: str) -> None:
    text, said = WRONG[what]
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(UserError) as refused:
        read_grid(tmp_path / "sweep.toml")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_is_its_runs(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(
        GOOD + 'seeds = [0, 2]\nlimit = 8\nplugins = ["mine.py"]\ndata = "sets"\n\n[slurm]\npartition = "gpu"\n'
    )
    grid = read_grid(tmp_path / "sweep.toml")
    found = list(points(grid))
    assert [(one.paradigm, one.seed) for one in found] == list(product(("sft", "rft"), (0, 2)))
    assert (grid.slurm, grid.scales, grid.retries) == ({"partition": "gpu"}, ("twin",), 3)
    said = " ".join(words(grid, found[-1], tmp_path / "runs"))
    assert said.startswith(
        "run --paradigm rft --seq default --scale twin --seed 2 --split test --suites native --out /"
    )
    assert said.endswith(f"--limit 8 --data {tmp_path / 'sets'} --plugin {tmp_path / 'mine.py'}")


def asked(model: Path, *runs: dict[str, Any]) -> list[Asked]:
    """Runs of the fake world as a sweep has them."""
    made = [fake_run(model, **fields) for fields in runs]
    return [Asked(run=one, words=(str(n),), cpus=1, gpus=0) for n, one in enumerate(made)]


def check_tree(legs: tuple[Leg, ...], runs: list[Run]) -> None:
    """Every run ends once, no two legs that can be at work at once are of one run or train one stage."""
    known = {
        run_id(one): [(stage.name, row) for stage, row in zip(run_stages(one), chain(one)[1:], strict=True)]
        for one in runs
    }
    assert sorted(leg.run for leg in legs if not leg.until) == sorted(known)
    before: list[set[int]] = []
    for number, leg in enumerate(legs):
        assert all(other < number for other in leg.after)
        before.append(set(leg.after).union(*(before[other] for other in leg.after)))
    owners: dict[str, int] = {}
    for number, leg in enumerate(legs):
        for name in leg.trains:
            assert owners.setdefault(dict(known[leg.run])[name], number) == number, "a stage is trained by two legs"
    assert set(owners) == {row for rows in known.values() for _, row in rows}
    for number, leg in enumerate(legs):
        same = {other for other in range(number) if legs[other].run == leg.run}
        assert same <= before[number], "two legs of one run could be at work at once"
        names = [name for name, _ in known[leg.run]]
        last = {"": len(names), "base": 0}.get(leg.until, 1 + names.index(leg.until) if leg.until in names else 0)
        for _, row in known[leg.run][:last]:
            assert owners[row] in before[number] | {number}, "a leg would wait on a stage's lock"


OTHER = Stream(name="other", tasks=("coins", "cards"), epochs={"coins": 1, "cards": 1}, general=("watched",))
TWICE = replace(PREFIX, name="twice", epochs={"coins": 1, "dice": 1})
STREAMS = (PREFIX, STREAM, OTHER, TWICE, WATCHING)
HELD, COT_TOO = replace(FAKE, name="held", kl=0.5), replace(FAKE, name="cot", style=COT)


def test_a_tree_shares_what_is_the_same_and_nothing_else(tmp_path: Path, fake_plugin: ModuleType) -> None:
    model = make_model(tmp_path / "model")
    fake = [{"paradigm": FAKE, "stream": stream} for stream in STREAMS]
    legs = legs_of(asked(model, *fake))
    names = [(leg.run.split("-")[1], leg.until, leg.trains, leg.after) for leg in legs]
    assert names == [
        ("short", "coins", ("coins",), ()),
        ("short", "", ("dice",), (0,)),
        ("other", "", ("cards",), (0,)),
        ("twice", "", ("dice",), (0,)),
        ("watching", "", (), (0, 1)),
        ("games", "", ("cards",), (0, 1)),
    ]
    two = [{"paradigm": one, "stream": stream} for one in (FAKE, HELD) for stream in (PREFIX, STREAM)]
    assert [(leg.until, leg.trains) for leg in legs_of(asked(model, *two))] == [
        ("base", ()), ("", ("coins", "dice")), ("", ("coins", "dice")), ("base", ()), ("", ("cards",)), ("", ("cards",))
    ]  # fmt: skip
    others = [
        {"paradigm": one, "stream": stream, "seed": n} for one in (HELD, COT_TOO) for stream in STREAMS for n in (0, 1)
    ]
    runs = asked(model, *others, {"stream": STREAM, "limit": 3}, {"paradigm": replace(FAKE, select=HALF)})
    check_tree(legs_of([*runs, *runs[:3]]), [one.run for one in runs])


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ({"paradigm": replace(FAKE, name="alias", cite="x")}, 4),
        ({"paradigm": replace(FAKE, kl=0.5)}, 1),
        ({"paradigm": replace(FAKE, select=HALF)}, 1),
        ({"paradigm": replace(FAKE, style=replace(DIRECT, name="direct2"))}, 0),
        ({"seed": 1}, 1),
        ({"limit": 3}, 0),
        ({"split": "validation"}, 3),
        ({"stream": replace(STREAM, epochs={**STREAM.epochs, "dice": 1})}, 2),
        ({"stream": replace(STREAM, general=("watched", "dice"))}, 4),
        ({"stream": replace(STREAM, general=("shouts",))}, 3),
    ],
)
def test_what_decides_a_row_is_in_its_digest(
    tmp_path: Path, fake_plugin: ModuleType, change: dict[str, Any], shared: int
) -> None:
    run = fake_run(make_model(tmp_path / "model"))
    run = replace(
        run, scale=replace(run.scale, decodings={**run.scale.decodings, "direct2": run.scale.decodings["cot"]})
    )
    other = replace(run, **change)
    assert len(set(chain(run)) & set(chain(other))) == shared


def test_a_task_takes_what_its_scale_does() -> None:
    from harness.command.sweep import taken, workers

    assert (taken(TWIN), taken(QWEN25_VL_7B)) == ((2, 0), (32, 8))
    assert workers([leg(), replace(leg(), gpus=1)]) == 1
    assert workers([replace(leg(), cpus=10**6)]) == 1


def leg(*command: str, run: str = "one", after: tuple[int, ...] = ()) -> Leg:
    """A leg of another of the harness' commands, which takes no time."""
    return Leg(run=run, words=command, until="", trains=(), after=after, cpus=1, gpus=0)


def test_legs_run_here_in_their_order_and_tell_their_exit_codes(tmp_path: Path) -> None:
    place = Place(out=tmp_path / "runs", folder=Path.cwd())
    heard: list[tuple[str, int]] = []
    legs = [
        leg("list", run="a"),
        leg("runs", "show", "nowhere", "--out", str(tmp_path), run="b"),
        leg("list", run="c", after=(0, 1)),
        leg("list", run="d", after=(0,)),
    ]
    do_here(legs, place, 2, lambda done, code: heard.append((done.run, code)))
    assert sorted(heard) == [("a", 0), ("b", 2), ("c", NOT_BEGUN), ("d", 0)]
    assert heard.index(("d", 0)) > heard.index(("a", 0))
    assert last_code(place.log("b")) == 2
    assert "exit code 2: error: unknown run 'nowhere'" in in_words(legs[1], 2, place)
    assert in_words(legs[2], NOT_BEGUN, place) == "c: not begun, what it needs failed"
    assert "lost too often" in in_words(legs[2], LOST, place)
    assert "Paradigms" in place.log("a").read_text()
    note(place.log("b"), "run again on host")
    assert last_code(place.log("b")) is None
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".sweep").symlink_to(tmp_path / "runs" / ".sweep")
    with pytest.raises(UserError, match="is a symbolic link"):
        do_here(legs[:1], replace(place, out=tmp_path / "other"), 1, lambda done, code: None)


def test_the_ledger_is_what_the_records_say(tmp_path: Path, fake_plugin: ModuleType) -> None:
    place = Place(out=tmp_path / "runs", folder=Path.cwd())
    model = make_model(tmp_path / "model")
    runs = [fake_run(model, seed=seed) for seed in range(4)]
    run(runs[0], place.out, engine=ENGINE)
    run(runs[1], place.out, engine=ENGINE, until="coins")
    (place.out / run_id(runs[3])).mkdir()
    (place.out / run_id(runs[3]) / "run.json").write_text("{}")
    place.log("x").parent.mkdir()
    note(place.log(run_id(runs[1])), "ended with exit code 0")
    lines = ledger([(run_id(one), 3) for one in runs], place)
    assert [(line.state, line.stages, line.code) for line in lines] == [
        ("finished", 3, None), ("begun", 1, 0), ("not begun", 0, None), ("damaged", 0, None)
    ]  # fmt: skip


FAKE_SLURM = {
    "sbatch": """#!{python}
import os, subprocess, sys
from pathlib import Path
room = Path(os.environ["FAKE_SLURM"])
number = len(list(room.glob("*.job"))) + 1
(room / f"{{number}}.job").write_text(Path(sys.argv[1]).read_text())
words = [sys.executable, room.parent / "machine", str(number)]
subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job", number)
""",
    # waits for the jobs before it; where one of them failed it is cancelled
    "machine": """#!{python}
import os, re, subprocess, sys, time
from pathlib import Path
room, number = Path(os.environ["FAKE_SLURM"]), sys.argv[1]
text = (room / f"{{number}}.job").read_text()
wanted = re.search(r"--dependency=afterok:([0-9:]+)", text)
before = [room / n for n in wanted[1].split(":")] if wanted else []
while not all(path.exists() for path in before):
    time.sleep(0.05)
state = "CANCELLED"
if all(path.read_text() == "COMPLETED" for path in before):
    env = {{**os.environ, "SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
           "SLURM_NODEID": "0", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here", "SLURM_NNODES": "1"}}
    done = subprocess.run(["bash", room / f"{{number}}.job"], env=env)
    state = "FAILED" if done.returncode else "COMPLETED"
(room / f"{{number}}.draft").write_text(state)
(room / f"{{number}}.draft").rename(room / number)
""",
    "srun": """#!{python}
import os, sys
words = sys.argv[1:]
while not os.path.basename(words[0]).startswith("python"):
    words.pop(0)
os.execv(words[0], words)
""",
    "sacct": """#!{python}
import os
from pathlib import Path
print("JobID|State|NodeList")
for path in Path(os.environ["FAKE_SLURM"]).glob("*.job"):
    state = path.with_suffix("")
    print(f"{{path.stem}}|{{state.read_text() if state.exists() else 'RUNNING'}}|here")
""",
}


@pytest.mark.slow
def test_slurm_gets_a_job_for_each_leg_after_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "slurm"
    room.mkdir()
    for name, text in FAKE_SLURM.items():
        (tmp_path / name).write_text(text.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(room))
    place = Place(out=tmp_path / "runs", folder=Path.cwd())
    legs = [
        replace(leg("list", run="a"), cpus=4, gpus=8),
        leg("list", run="b", after=(0,)),
        leg("runs", "show", "nowhere", "--out", str(tmp_path), run="c", after=(0,)),
        leg("list", run="d", after=(1, 2)),
    ]
    heard: dict[str, int] = {}
    grid = Grid(paradigms=("sft",), streams=("default",), slurm={"partition": "gpu", "time": 90, "requeue": True})
    do_on_slurm(legs, place, grid, lambda done, code: heard.update({done.run: code}), listens=0.1)
    assert heard == {"a": 0, "b": 0, "c": 2, "d": NOT_BEGUN}
    jobs = [(room / f"{n}.job").read_text().splitlines() for n in (1, 2, 3, 4)]
    asked = {"job-name=a", "cpus-per-task=4", "gpus-per-node=8", "partition=gpu", "time=90", "requeue"}
    assert {f"#SBATCH --{one}" for one in asked} <= set(jobs[0])
    assert not [line for line in jobs[0] if "dependency" in line]
    assert "#SBATCH --dependency=afterok:1" in jobs[1]
    assert "#SBATCH --dependency=afterok:2:3" in jobs[3]
    assert last_code(place.log("c")) == 2


@pytest.mark.slow
def test_what_is_not_installed_is_one_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = sys.modules['submitit'] = None; from harness.command.cli import main; main()"
    )
    (tmp_path / "sweep.toml").write_text('paradigms = ["sft"]\nstreams = ["o1"]\n')
    command = [sys.executable, "-c", code, "sweep", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "runs")]
    for executor, said in (("ray", "Ray is not installed: `pip install"), ("slurm", "submitit is not installed")):
        done = subprocess.run([*command, "--executor", executor], capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert said in done.stderr
