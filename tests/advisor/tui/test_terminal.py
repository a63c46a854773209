"""The real program in a real terminal, as somebody sits before it; tmux is the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="tmux is not installed, and it is the terminal of this test"
)
PROGRAM = str(Path(sys.executable).with_name("slm-advisor"))


class Terminal:
    """A tmux server of its own with one window."""

    def __init__(
        self, command: str, folder: Path, width: int = 80, height: int = 24, **environment: str
    ) -> None:
        self._socket = f"slm-advisor-test-{uuid.uuid4().hex[:8]}"
        # A size in the environment, as test runners set it, would count for more than the terminal's own.
        ours = ("TMUX", "NO_COLOR", "LANGUAGE", "COLUMNS", "LINES")
        clean = {key: value for key, value in os.environ.items() if key not in ours}
        self._ended = folder / f"{self._socket}.exit"
        # tmux 3.3 sometimes never hears of the end of its child, which stays a zombie: the shell tells the exit code.
        command = f"{command}; echo $? > {shlex.quote(str(self._ended))}"
        self._environment = {**clean, "LC_ALL": "C.UTF-8", "XDG_DATA_HOME": str(folder), **environment}
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), command)
        self._tmux("set-option", "-g", "remain-on-exit", "on")

    def press(self, *keys: str) -> None:
        for key in keys:
            self._tmux("send-keys", key)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def text(self) -> str:
        return self._tmux("capture-pane", "-p").stdout

    def until(self, words: str, seconds: float = 30.0) -> str:
        """Wait until the words are on the screen."""
        end = time.monotonic() + seconds
        while words not in (text := self.text()):
            assert time.monotonic() < end, f"no {words!r} within {seconds:g} s:\n{text}"
            time.sleep(0.05)
        return text

    def until_gone(self, words: str, seconds: float = 30.0) -> None:
        """Wait until the words are no longer on the screen."""
        end = time.monotonic() + seconds
        while words in (text := self.text()):
            assert time.monotonic() < end, f"still {words!r} after {seconds:g} s:\n{text}"
            time.sleep(0.05)

    def exit_code(self, seconds: float = 15.0) -> int:
        end = time.monotonic() + seconds
        while True:
            if self._ended.exists() and (code := self._ended.read_text()):
                return int(code)
            assert time.monotonic() < end, f"it does not end:\n{self.text()}"
            time.sleep(0.05)

    def panes(self) -> list[str]:
        """The process in each window."""
        return self._tmux("list-panes", "-a", "-F", "#{pane_pid}").stdout.split()

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False)

    def _tmux(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tmux", "-L", self._socket, *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=self._environment,
            check=True,
        )


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[list[Terminal]]:
    """Terminals to close afterwards."""
    opened: list[Terminal] = []
    yield opened
    for each in opened:
        each.close()


def test_the_program_alone_leads_from_the_device_to_trying(terminal: list[Terminal], tmp_path: Path) -> None:
    """`slm-advisor` on a terminal: device, need, list, details, try, and a clean end."""
    screen = Terminal(PROGRAM, tmp_path)
    terminal.append(screen)
    screen.until("models fit")
    screen.press("c")
    screen.until("Choose a device")
    screen.type("raspberry pi 5 8gb")
    screen.press("Enter")
    screen.until("Raspberry Pi 5 / CM5")
    screen.until("models fit")
    screen.press("n")
    screen.until("models remain")
    screen.press("Down", "Right")
    screen.until("general (en)")
    screen.press("n")
    screen.until("tokens/s (", 10)
    screen.press("Enter")
    screen.until("bits per weight")
    screen.press("Escape")
    screen.until("^p All")  # escape and a digit at once would be alt with that digit
    screen.press("4")
    screen.until("is not this machine")
    screen.resize(40, 10)
    screen.until("Try")
    screen.press("q")
    assert screen.exit_code() == 0


def to_a_build(screen: Terminal, source: Path, folder: Path) -> None:
    """From the first screen to the plan of a build of SmolLM2-135M; `folder` is where the program was started."""
    screen.until("models fit")
    screen.press("3")
    screen.until("tokens/s")
    screen.press("/")
    screen.until("name, family, quantization")
    screen.until_gone("⏎ More")  # the keys are the filter's, and not the list's
    screen.type("smollm2-135m")
    screen.until("SmolLM2-135M-Instruct:")  # its details, below the list: the cursor is on it
    screen.press("Enter")
    screen.until("⏎ More")
    screen.press("5")
    screen.until("Choose where the weights come from")
    screen.press("f")
    screen.until("A full-precision GGUF")
    screen.until(f"{folder.name}/")  # the path to begin with
    screen.press("C-u")
    screen.until_gone(f"{folder.name}/")  # letters are quicker than a key that means something
    screen.type(str(source))
    screen.press("Enter")
    screen.until("s starts", 60)


@pytest.mark.engine
@pytest.mark.slow
def test_the_program_leads_from_the_device_to_an_exported_file(
    terminal: list[Terminal], tmp_path: Path, smollm2_f16: Path
) -> None:
    """A real build of a real model: chosen, made, exported, without a command."""
    pytest.importorskip("llama_cpp")
    screen = Terminal(f"cd {shlex.quote(str(tmp_path))} && {PROGRAM}", tmp_path, 120, 36)
    terminal.append(screen)
    to_a_build(screen, smollm2_f16, tmp_path)
    screen.press("s")
    screen.until("Built.", 540)  # a minute on an idle machine
    screen.press("n")
    screen.until("llama-server")
    screen.until("sha256")
    screen.press("a")
    screen.until("Written")
    screen.press("q")
    assert screen.exit_code() == 0
    (folder,) = tmp_path.glob("SmolLM2-135M-Instruct-*")
    assert {"deployment.json", "Modelfile", "llama-server.sh", "manifest.json"} <= {
        path.name for path in folder.iterdir()
    }


@pytest.mark.engine
@pytest.mark.slow
def test_a_terminal_that_is_closed_during_a_build_leaves_no_process_and_no_file(
    terminal: list[Terminal], tmp_path: Path, smollm2_f16: Path
) -> None:
    """The window is gone in the midst of it: nothing runs on, and nothing of the build is left."""
    pytest.importorskip("llama_cpp")
    import psutil

    screen = Terminal(f"cd {shlex.quote(str(tmp_path))} && {PROGRAM} --lang en", tmp_path, 120, 36)
    terminal.append(screen)
    to_a_build(screen, smollm2_f16, tmp_path)
    screen.press("s")
    screen.until("quantizing", 60)
    (shell,) = [int(pid) for pid in screen.panes()]
    end = time.monotonic() + 60
    while len(ours := psutil.Process(shell).children(recursive=True)) < 2:  # the wizard and its engine
        assert time.monotonic() < end, screen.text()
        time.sleep(0.05)
    screen.close()
    _gone, alive = psutil.wait_procs(ours, timeout=20)
    assert [process.pid for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert [path.name for path in tmp_path.iterdir() if "SmolLM2" in path.name] == []


def test_a_japanese_locale_gets_japanese(terminal: list[Terminal], tmp_path: Path) -> None:
    """The first screen already; --lang has the last word."""
    screen = Terminal(shlex.join([PROGRAM, "tui", "--device", "Pixel 9"]), tmp_path, LANGUAGE="ja")
    terminal.append(screen)
    screen.until("が適合")
    screen.press("3")
    screen.until("生成速度")
    screen.press("q")
    assert screen.exit_code() == 0
    other = Terminal(shlex.join([PROGRAM, "--lang", "en"]), tmp_path, LANGUAGE="ja")
    terminal.append(other)
    other.until("models fit")
    other.press("q")
    assert other.exit_code() == 0


def test_an_unknown_device_is_said_on_the_first_screen(terminal: list[Terminal], tmp_path: Path) -> None:
    """The wizard opens all the same, with names near the one that was given."""
    screen = Terminal(shlex.join([PROGRAM, "tui", "--device", "Pixel 99 Ultra"]), tmp_path, width=120)
    terminal.append(screen)
    screen.until("Pixel 99 Ultra")
    screen.until("Near it:")
    screen.press("q")
    assert screen.exit_code() == 0


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_is_said_in_a_line_and_shows_no_variables(
    debug: bool, terminal: list[Terminal], tmp_path: Path
) -> None:
    """As the command line has it; the environment, with whatever secrets are in it, is not printed."""
    code = "from advisor import tui; from advisor.tui.app import Wizard; "
    code += "Wizard.action_theme = lambda self, secret='hunter2': 1 / 0; raise SystemExit(tui.run())"
    one = Terminal(  # which stays for what it shows to be read
        f"{shlex.quote(sys.executable)} -P -c {shlex.quote(code)}; code=$?; sleep 5; (exit $code)",
        tmp_path,
        width=120,
        height=50,
        SLM_ADVISOR_DEBUG="1" if debug else "",
    )
    terminal.append(one)
    one.until("1 Device")
    one.press("C-t")
    shown = one.until("ZeroDivisionError: division by zero")
    assert ("hunter2" in shown) is debug
    assert ("SLM_ADVISOR_DEBUG=1 shows where" in shown) is not debug
    assert one.exit_code() == 1


@pytest.mark.parametrize("arguments", [(), ("tui",)])
def test_without_a_terminal_it_says_how_to_go_on(arguments: tuple[str, ...]) -> None:
    """Help, or what to run instead, on stderr; exit code 2, as without a wizard."""
    done = subprocess.run(
        [PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"recommend" in done.stderr
