"""What the shell hands to the command and what the command gives back: variables, standard output, and how it ends."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from harness import registry
from harness.core import Scale, UserError
from harness.scales import TWIN_BASE
from harness.store.disk import refusing_disk_faults
from harness.values import cut

# What the libraries read when they are loaded: nothing is fetched, nothing is reported to anyone.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",  # the libraries' own bars would cut through ours
    "WANDB_MODE": "disabled",
    "MPLBACKEND": "agg",
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# A launcher sets these for its ranks. Left over, they make torch wait for ranks that never come, or change precision.
RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
LAUNCHERS = ("ACCELERATE_", "TORCHELASTIC_", "FSDP_")
LONGEST_LINE = 600


def settle(scale: str) -> None:
    """Clean the environment for runs of a scale, each change of a user's value with its line on standard error."""
    for line in (*clear_ranks(), *set_threads(scale)):
        print(f"note: {line}", file=sys.stderr)


def clear_ranks() -> list[str]:
    """Take away what a launcher of several processes left in the environment: a run starts its own. The line to say."""
    left = sorted(name for name in os.environ if name in RANKS or name.startswith(LAUNCHERS))
    for name in left:
        del os.environ[name]
    return [f"{', '.join(left)}, left over from another launcher, are not used: a run starts its own ranks"] * bool(
        left
    )


def set_threads(scale: str) -> list[str]:
    """One thread for the twin, whose numbers are those of one thread; a line for each other value that the user had."""
    if registry.typed(Scale, scale).model != TWIN_BASE:
        return []
    other = [f"{name}={os.environ[name]}" for name in THREADS if os.environ.get(name, "1") != "1"]
    os.environ.update(dict.fromkeys(THREADS, "1"))
    if "torch" in sys.modules:  # a plugin has loaded it, and it has read the variables
        sys.modules["torch"].set_num_threads(1)
    said = cut(" and ".join(other))
    return [f"{said} is set to 1: the twin's numbers are those of one thread"] if other else []


class Lasting(io.TextIOBase):
    """An output that neither a closed pipe nor a full disk ends: the work goes on, and ``fault`` says what happened."""

    def __init__(self, stream: TextIO) -> None:
        """Hold the stream."""
        self.stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self.stream.write(text)
        except OSError as fault:
            self._lost(fault)
            return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:
            self.stream.flush()
        except OSError as fault:
            self._lost(fault)

    def _lost(self, fault: OSError) -> None:
        """Remember the first fault; what is still in the stream's buffer, and all that follows, goes nowhere."""
        self.fault = self.fault or fault
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """The number of its file."""
        return self.stream.fileno()

    def writable(self) -> bool:
        """It is."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def outputs() -> Iterator[Lasting]:
    """Standard output and standard error that last as long as the work; gives standard output."""
    before = sys.stdout, sys.stderr
    # A stream that the shell closed is None; its number must not be given to a file of ours.
    lasting = [Lasting(stream or open(os.devnull, "w")) for stream in before]  # noqa: SIM115
    sys.stdout, sys.stderr = lasting
    try:
        yield lasting[0]
    finally:
        for stream in lasting:
            stream.flush()
        sys.stdout, sys.stderr = before


def unsaid(output: Lasting) -> str:
    """Why standard output does not hold the result; empty where it does, or where its reader had enough."""
    output.flush()
    if output.fault is None or output.fault.errno == errno.EPIPE:
        return ""
    return f"standard output cannot be written ({output.fault.strerror}): the work is done, but its result is not shown"


def one_line(error: BaseException) -> str:
    """What an error says, on one line that a terminal can show."""
    return cut(str(error), LONGEST_LINE)


def refusal(fault: Exception) -> str:
    """What a disk's refusal asks of the user, in one line; empty where the fault is another."""
    if not isinstance(fault, OSError):
        return ""
    try:
        with refusing_disk_faults(Path.cwd()):
            raise fault
    except UserError as error:
        return one_line(error)
    except OSError:
        return ""


def traced(fault: BaseException) -> str:
    """A fault with its traceback, each line fit for a terminal; the last says whose it is where it is a plugin's."""
    told = "".join(traceback.format_exception(fault))
    lines = [line[: len(line) - len(line.lstrip())] + cut(line, LONGEST_LINE) for line in told.splitlines()]
    return "\n".join([*lines, *(f"error: the fault is the plugin's: {path}" for path in blamed(fault))])


def blamed(fault: BaseException) -> list[str]:
    """The plugins that a fault went through, here or in a process of its own, whose traceback is in its message."""
    told = "".join(traceback.format_exception(fault))
    return [cut(str(path), LONGEST_LINE) for path in registry.plugins() if f'File "{path}"' in told]


__all__ = [
    "ENVIRONMENT", "THREADS", "Lasting", "blamed", "clear_ranks", "one_line", "outputs", "refusal", "set_threads",
    "settle", "traced", "unsaid",
]  # fmt: skip
