"""A process of its own that does one thing after another, is heard while it works, and dies with its parent.

What is sent is pickled by the parent for its own child, never read from a file; functions travel by their names, so the
child loads the parent's plugins first.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from harness import registry
from harness.core import UserError
from harness.values import cut

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Say = Callable[[Any], None]


def unheard(said: Any) -> None:
    """What a worker says where nobody listens."""


class Worker:
    """A child process, started by spawning: it shares no memory with its parent."""

    def __init__(self, starts_others: bool = False) -> None:
        """Start the process; it loads the plugins of this one, and may start processes itself where it is to."""
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        ours, self._lifeline = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_serve, args=(registry.plugins(), theirs, ours), daemon=not starts_others
        )
        self._working = False
        self._process.start()
        theirs.close()
        ours.close()

    def call(self, function: Callable[[Argument, Say], Result], argument: Argument, hear: Say = unheard) -> Result:
        """What ``function(argument, say)`` returns there; ``hear`` gets whatever it says.

        Raises:
            UserError: what it raised there, where function and argument cannot be sent, or where it was killed.
            RuntimeError: for any other fault there, with its traceback, and where the process ended by itself.
        """
        try:
            self._line.send_bytes(pickle.dumps((function, argument)))
        except (pickle.PicklingError, AttributeError, TypeError) as fault:
            raise UserError(
                f"this cannot be done in a process of its own ({cut(str(fault), 120)}): write functions at the top of a"
                " file"
            ) from fault
        except OSError as fault:
            raise self._ended() from fault
        self._working = True
        while True:
            try:
                kind, content = self._line.recv()
            except (EOFError, OSError) as fault:
                raise self._ended() from fault
            self._working = kind == "said"
            if kind == "said":
                hear(content)
            elif kind == "refused":
                raise UserError(content)
            elif kind == "fault":
                raise RuntimeError(f"a fault in a process of its own:\n{content}")
            else:
                result: Result = content
                return result

    def _ended(self) -> Exception:
        self._process.join(1)
        code = self._process.exitcode
        if code is not None and code < 0:
            return UserError(
                f"a process of this run was killed by signal {-code}, which the system does where memory is short: "
                "give the same command again, it continues"
            )
        return RuntimeError(f"a process of its own ended with exit code {code}")

    def close(self) -> None:
        """End the process: one that has nothing to do ends by itself and tidies up, another one at once."""
        if not self._working:
            self._line.close()
            self._process.join(5)
        self._lifeline.close()
        self._line.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Worker:
        """Use the worker for a block."""
        return self

    def __exit__(self, *reason: object) -> None:
        """End the process."""
        self.close()


def _serve(plugins: tuple[Path, ...], line: Connection, lifeline: Connection) -> None:
    """The child: answer each call until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's, which then ends this process
    die_with(lifeline)
    registry.load_plugins(plugins)
    while True:
        try:
            # From the pipe that the parent made for this child alone, never from a file or a socket.
            function, argument = pickle.loads(line.recv_bytes())  # noqa: S301 - our own parent's, by a pipe
        except (EOFError, OSError):
            return
        try:
            answer = ("result", function(argument, lambda said: line.send(("said", said))))
        except UserError as fault:
            answer = ("refused", str(fault))
        except BaseException:  # nothing is swallowed: what ends the work here, sys.exit too, is the parent's to hear
            answer = ("fault", traceback.format_exc())
        try:
            line.send(answer)
        except (pickle.PicklingError, AttributeError, TypeError) as fault:
            line.send(("fault", f"what the process of its own gives back cannot be sent ({fault})"))


def die_with(lifeline: Connection) -> None:
    """End this process when the other end of a pipe vanishes, whatever this process does at that moment."""
    _be_killed_with(lifeline)
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()


def _be_killed_with(lifeline: Connection) -> None:
    """Have the kernel end this process when the pipe closes, where it can: a thread waits while a library is loaded.

    Loading torch holds the interpreter's lock for a second and more on a busy machine.
    """
    if hasattr(fcntl, "F_SETSIG"):
        handle = lifeline.fileno()
        fcntl.fcntl(handle, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | os.O_ASYNC)


def _die_with_parent(lifeline: Connection) -> None:
    """Wait for the parent's end of a pipe to vanish: also after SIGKILL, the system closes it."""
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


__all__ = ["Say", "Worker", "die_with", "unheard"]
