"""Run a command to its end, or to its time limit, and leave nothing of it behind."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import psutil

SAMPLING_SECONDS = 0.2
KILL_SECONDS = 10.0
MIB = 2**20

T = TypeVar("T")


@dataclass(frozen=True)
class Ending:
    """How a command ended. `peak_mib`: the most resident memory that its descendants, not it, held together."""

    how: Literal["done", "timeout", "interrupted"]
    returncode: int
    seconds: float
    peak_mib: float


def supervise(command: Sequence[str], environment: Mapping[str, str], timeout: float) -> Ending:
    """Run `command` in a session of its own, for at most `timeout` seconds.

    Whatever it started is killed when it ends, when its time is up, and when this process gets Ctrl-C, which it
    does not see itself: the command's session is not the terminal's. If this process is killed, the command's
    standard input ends: it may end with it. Memory is sampled every SAMPLING_SECONDS.
    """
    start = time.monotonic()
    process = subprocess.Popen(command, env=dict(environment), stdin=subprocess.PIPE, start_new_session=True)
    tree = _Tree(process)
    how: Literal["done", "timeout", "interrupted"] = "timeout"
    try:
        while time.monotonic() - start < timeout:
            tree.sample()
            try:
                process.wait(SAMPLING_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            how = "done"
            break
    except KeyboardInterrupt:
        how = "interrupted"
    finally:
        tree.kill()
        process.stdin.close()
    return Ending(how, process.wait(), time.monotonic() - start, tree.peak_bytes / MIB)


class _Tree:
    """A process and all that descends from it, also what outlives its parent: each is remembered once seen."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.root = psutil.Process(process.pid)
        self.descendants: set[psutil.Process] = set()
        self.peak_bytes = 0

    def sample(self) -> None:
        """Remember new descendants and add up the memory of the living."""
        self.descendants.update(_children(self.root))
        self.peak_bytes = max(self.peak_bytes, sum(map(_resident_bytes, self.descendants)))

    def kill(self) -> None:
        """Kill until no member is alive, or KILL_SECONDS have passed (a process stuck in a device driver)."""
        deadline = time.monotonic() + KILL_SECONDS
        while (living := self._living()) and time.monotonic() < deadline:
            for process in living:
                _ask(process.kill, None)
            time.sleep(0.01)

    def _living(self) -> list[psutil.Process]:
        # Also the children of those whose own parent is gone: nothing else leads to them.
        for process in (self.root, *self.descendants):
            self.descendants.update(_children(process))
        return [process for process in (self.root, *self.descendants) if _alive(process)]


def _ask(question: Callable[[], T], gone: T) -> T:
    """The answer of a process, or `gone` if it has ended meanwhile."""
    try:
        return question()
    except psutil.NoSuchProcess:
        return gone


def _alive(process: psutil.Process) -> bool:
    return _ask(lambda: process.is_running() and process.status() != psutil.STATUS_ZOMBIE, False)


def _children(process: psutil.Process) -> list[psutil.Process]:
    return _ask(lambda: process.children(recursive=True), [])


def _resident_bytes(process: psutil.Process) -> int:
    return _ask(lambda: process.memory_info().rss, 0)
