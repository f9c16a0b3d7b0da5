"""A command of another program: its own processes, which all end with this one, and a log. Standard library only.

What is asked for is a list of words, never a shell's text. ``keeper.py`` stands between: it is told by a pipe that this
process is gone, also after SIGKILL, and then ends the command and all that it started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from harness.store import disk
from harness.values import cut

KEEPER = Path(__file__).with_name("keeper.py")
TAIL = 4096


class Outside:
    """A running command. ``log`` gets what it says, after what is there; no two with one ``lock`` live at once."""

    def __init__(
        self, words: Sequence[str], *, log: Path, lock: Path, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the command in ``folder``, with this process' environment where none is given."""
        with disk.refusing_disk_faults(log), open(log, "ab", opener=_no_link) as said:
            theirs, self._lifeline = os.pipe()
            try:
                self._keeper = subprocess.Popen(  # noqa: S603 - our own keeper; the words go to no shell
                    [sys.executable, "-I", str(KEEPER), str(theirs), str(lock.absolute()), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    pass_fds=(theirs,),
                    cwd=folder,
                    env=None if environment is None else dict(environment),
                    start_new_session=True,  # a Ctrl-C is this process', which then closes the command
                )
            finally:
                os.close(theirs)

    def wait(self, seconds: float) -> int | None:
        """The command's exit code once it has ended, or None after so many seconds."""
        try:
            return self._keeper.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self, grace: float = 0.0) -> None:
        """End the command, if it has not ended, and all that it started; it has ``grace`` seconds to tidy up itself."""
        if self._lifeline >= 0:
            if grace and self.wait(0) is None:
                with suppress(BrokenPipeError):  # it has ended by now
                    os.write(self._lifeline, b"t")
                self.wait(grace)
            os.close(self._lifeline)
            self._lifeline = -1
        self._keeper.wait()

    def __enter__(self) -> Outside:
        """Use the command for a block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        """End the command."""
        self.close()


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def last_lines(log: Path, lines: int = 4) -> str:
    """The last lines of a log that say something, as one line that a terminal can show."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        said = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    told = [cut(line, 200) for line in said if line.strip()]
    return " | ".join(told[-lines:])


def exit_in_words(code: int) -> str:
    """An exit code of a command, as a sentence has it.

    >>> exit_in_words(2), exit_in_words(137)
    ('ended with exit code 2', 'was ended by signal 9')
    """
    return f"was ended by signal {code - 128}" if 128 < code <= 128 + 64 else f"ended with exit code {code}"


__all__ = ["Outside", "exit_in_words", "last_lines"]
