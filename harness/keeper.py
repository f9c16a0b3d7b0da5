"""Does one command, and ends all that it started when the process which asked for it is gone. Run by its path.

``python -I keeper.py LIFELINE LOCK WORD...``: LIFELINE is the reading end of a pipe whose other end the asking process
alone holds, LOCK a file that is locked as long as anything of the command lives. A byte on the pipe asks the command to
end by itself. It imports nothing of this project.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux' prctl
NOT_STARTED = 127


def main(lifeline: int, lock: str, words: list[str]) -> int:
    """Do the command once no earlier one with this lock lives; its exit code, minus its number for a signal."""
    with suppress(AttributeError, OSError):  # a trainer's own launcher may put its workers into sessions of their own:
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # this way they are this process' children when it has gone
    started: list[subprocess.Popen[bytes]] = []
    threading.Thread(target=_watch, args=(lifeline, started), daemon=True).start()
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        command = subprocess.Popen(words, stdin=subprocess.DEVNULL)  # noqa: S603 - words, never a shell's text
        started.append(command)
    except OSError as fault:
        print(f"{words[0]} cannot be started: {fault.strerror}", file=sys.stderr, flush=True)
        return NOT_STARTED
    while (ended := os.waitpid(-1, 0))[0] != command.pid:
        continue  # an adopted one
    end_all()
    command.returncode = os.waitstatus_to_exitcode(ended[1])
    return command.returncode


def _watch(lifeline: int, started: list[subprocess.Popen[bytes]]) -> None:
    """Wait for the other end of the pipe to vanish, then end everything; the system closes it after SIGKILL too."""
    while os.read(lifeline, 1):
        for command in started:
            os.kill(command.pid, signal.SIGTERM)
    end_all()
    os._exit(128 + signal.SIGKILL)


def end_all() -> None:
    """Kill the children and theirs until none is left."""
    while living := [pid for pid in _descendants(os.getpid()) if not _ended(pid)]:
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _children(pid: int) -> Iterator[int]:
    """The children of a process, as Linux tells them."""
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, listed.read_text().split())


def _ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for its parent to hear of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


if __name__ == "__main__":
    code = main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
    sys.exit(code if code >= 0 else 128 - code)  # as a shell says it
