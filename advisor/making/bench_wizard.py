"""The second half of `make bench`: how soon the wizard is there, and how long a key press keeps it busy.

The real program runs in a pseudo-terminal. First paint: from starting it until the first screen's text has arrived.
A key: from writing it until the terminal hears something (`first`) and until nothing more follows (`whole`), and
the longest that the wizard's event loop was late meanwhile (`busy`), be it at work itself or waiting for Python's
lock that a ranking thread holds. For that a task in the wizard asks to be woken every 2 ms and notes how late it is.

Nothing is asserted: a benchmark on a shared machine is no test.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROUNDS = 7
FIRST_PAINT_S = 0.7
KEY_S = 0.06
BEAT_S = 0.002
SIZE = (140, 40)  # with the plot beside the table: the most there is to draw
FIRST_SCREEN, ANSWERED = b"1 Device", b"models fit"
QUIET_S = 0.35  # nothing more on the terminal for so long: all is painted

DOWN, RIGHT, LEFT, ESCAPE, ENTER = "\x1b[B", "\x1b[C", "\x1b[D", "\x1b", "\r"

# What is measured, the keys that lead there, and the keys of which each is measured.
KEYS: tuple[tuple[str, Sequence[str], Sequence[str]], ...] = (
    ("models: opened", "", "3"),
    ("models: cursor", "", [DOWN] * 6),
    ("models: page and end", "", ["\x1b[6~", "\x1b[6~", "G", "g"]),
    ("models: sorting", "", ["s"] * 6),
    ("models: sorted the other way", "", ["S"] * 4),
    ("models: filter", "/", ["q", "w", "e", "n", " ", "4", "\x7f", "\x7f"]),
    ("models: details", [ESCAPE], ENTER),
    ("models: what is left out", [ESCAPE], "x"),
    ("models: cursor there", "", [DOWN] * 4),
    ("models: why it is left out", "", ENTER),
    ("need: opened", [ESCAPE, "x"], "2"),
    ("need: task", "", [LEFT, LEFT, RIGHT]),
    ("need: languages", [DOWN], [RIGHT, RIGHT, LEFT]),
    ("need: context", [DOWN], [RIGHT, RIGHT, LEFT]),
    ("need: speed", [DOWN], [RIGHT, RIGHT, LEFT]),
    ("need: first word", [DOWN], [RIGHT, RIGHT, LEFT]),
    ("need: memory", [DOWN], [RIGHT, RIGHT, LEFT]),
    ("need: licence", [DOWN], [RIGHT, RIGHT, LEFT]),
    ("need: cursor while ranking", [LEFT], ["\x1b[A", "\x1b[A", "\x1b[A"]),
    ("need: all answers", "", ENTER),
    ("models: after a new need", [ESCAPE], "3"),
    ("help", "", "?"),
    ("palette", [ESCAPE], "\x10"),
    ("device, try, build, export", [ESCAPE], ["1", "4", "5", "6"]),
    ("every step once more", "", ["1", "2", "3", "4", "5", "6"]),
)


def main() -> None:
    program = shutil.which("slm-advisor", path=str(Path(sys.executable).parent)) or "slm-advisor"
    print(f"the wizard at {SIZE[0]}x{SIZE[1]}: median (min to max) of {ROUNDS} runs, {os.cpu_count()} CPUs")
    warm, cold = [], []
    first_paint([program])
    for _ in range(ROUNDS):
        warm.append(first_paint([program]))
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_paint([program], {"PYTHONPYCACHEPREFIX": folder}))
    for label, found in (("", warm), (", nothing compiled yet", cold)):
        _tell(f"first paint{label}", [each[0] for each in found], f"budget {FIRST_PAINT_S} s")
        _tell(f"the list is there{label}", [each[1] for each in found], "")
    rounds = [key_presses() for _ in range(ROUNDS)]
    print(
        f"keys, ms: median (longest) of {ROUNDS} runs   budget {KEY_S * 1000:.0f} ms for 'busy' and 'first'"
    )
    for label, _before, _keys in KEYS:
        columns = []
        for which, name in enumerate(("busy", "first", "whole")):
            times = [1000 * key[which] for keys in rounds for key in keys[label]]
            columns.append(f"{name} {statistics.median(times):4.0f} ({max(times):4.0f})")
        print(f"  {label:<34}{'   '.join(columns)}")


def first_paint(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Seconds from starting the program to its first screen, and to the first list."""
    with Terminal(command, environment or {}) as terminal:
        return terminal.until(FIRST_SCREEN) - terminal.started, terminal.until(ANSWERED) - terminal.started


def key_presses() -> dict[str, list[tuple[float, float, float]]]:
    """Per label of KEYS, for each key: how long the event loop was late, first and whole paint, in seconds."""
    pressed: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "late.json")
        with Terminal([sys.executable, "-m", "advisor.making.bench_wizard", "beat", str(log)]) as terminal:
            terminal.until(ANSWERED)
            terminal.settle()
            for label, before, keys in KEYS:
                for key in before:
                    terminal.press(key)
                    terminal.settle()
                pressed[label] = [terminal.measure(key) for key in keys]
            terminal.press("\x11")  # ctrl+q
            terminal.ended()
        late = json.loads(log.read_text())
    return {
        label: [
            (
                max((by for at, by in late if at + by + BEAT_S >= start and at <= whole), default=0.0),
                first - start,
                whole - start,
            )
            for start, first, whole in keys
        ]
        for label, keys in pressed.items()
    }


class Terminal:
    """A program in a pseudo-terminal; what it writes is dated and thrown away."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        surroundings = {
            key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "LANGUAGE")
        }
        surroundings |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(environment or {})}
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env=surroundings, start_new_session=True
        )
        os.close(other)
        self._written = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        os.close(self._main)

    def press(self, key: str) -> float:
        """When it was pressed."""
        at = time.monotonic()
        os.write(self._main, key.encode())
        return at

    def until(self, words: bytes, seconds: float = 60.0) -> float:
        """When the words arrived; raises TimeoutError."""
        end = time.monotonic() + seconds
        while words not in self._written:
            if self._read(end - time.monotonic()) is None:
                raise TimeoutError(f"no {words!r} within {seconds:g} s")
        at = time.monotonic()
        self._written = self._written.partition(words)[2]
        return at

    def settle(self) -> tuple[float | None, float | None]:
        """When something was first written from now on, and when last before it was quiet; None: nothing was."""
        first = last = None
        while (at := self._read(QUIET_S)) is not None:
            first, last = first or at, at
        self._written = b""
        return first, last

    def measure(self, key: str) -> tuple[float, float, float]:
        """When the key was pressed, answered and all of it painted."""
        start = self.press(key)
        first, last = self.settle()
        return start, first or start, last or start

    def ended(self) -> None:
        while self._read(10.0) is not None:
            pass
        self._process.wait(10)

    def _read(self, seconds: float) -> float | None:
        if not select.select([self._main], [], [], max(seconds, 0))[0]:
            return None
        try:
            chunk = os.read(self._main, 65536)
        except OSError:  # the program has ended
            return None
        self._written += chunk
        return time.monotonic() if chunk else None


def beat(log: Path) -> None:
    """The wizard, which writes down when its event loop was late, and by how much."""
    import asyncio

    from advisor import tui
    from advisor.tui import app as wizard

    late: list[tuple[float, float]] = []

    class Beating(wizard.Wizard):
        async def _beat(self) -> None:
            while True:
                at = time.monotonic()
                await asyncio.sleep(BEAT_S)
                late.append((at, time.monotonic() - at - BEAT_S))

        def on_load(self) -> None:
            self._beating = asyncio.create_task(self._beat())

    wizard.Wizard = Beating  # type: ignore[misc]
    tui.run(language="en")
    log.write_text(json.dumps(late))


def _tell(label: str, times: Sequence[float], budget: str) -> None:
    print(
        f"  {label:<46}{statistics.median(times):6.3f} s ({min(times):.3f} to {max(times):.3f})   {budget}".rstrip()
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["beat"]:
        beat(Path(sys.argv[2]))
    else:
        main()
