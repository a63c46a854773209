"""The commands that make the converter's environment: venv, pip, and a first start."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

from profiles.child import NETWORK_FAILURE, PIP_SETTINGS, end_group, output_lines, start
from quantize.errors import ConverterDownloadError, ConverterInstallError

Phase = Literal["creating", "downloading", "installing", "trying"]
ANY_TORCH = "SLM_ADVISOR_TORCH"  # an environment variable
Tell = Callable[[Phase, str, int, int], None]

_DOWNLOADING = re.compile(r"^\s*Downloading (\S+)(?: \(([\d.]+) ([kMG]?B)\))?")
_INSTALLING = re.compile(r"^Installing collected packages|^Building wheels? for")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_TELLING = re.compile(r"\berror\b[ :]|ERROR:|No module named|No space left|not found", re.IGNORECASE)
_WORDS = 6
# What the output shows -> what to do. The first that fits.
_ADVICE = (
    (r"No space left on device", "free disk space, or set XDG_DATA_HOME to a folder on a disk with more"),
    (r"ensurepip", "install Python's venv module (Debian and Ubuntu: apt install python3-venv)"),
)


class Installation:
    """An environment in the making; what the commands said is in a log that stays only after a failure."""

    def __init__(self, python: Path, temporary: Path, tell: Tell) -> None:
        self._python = python
        self._temporary = temporary
        self._tell = tell

    def __enter__(self) -> Installation:
        self._temporary.mkdir()
        self._log = tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="slm-advisor-converter-", suffix=".log", delete=False
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._log.close()
        if not isinstance(error, ConverterInstallError):
            Path(self._log.name).unlink(missing_ok=True)

    def create(self, environment: Path) -> None:
        """Make an empty environment. Raises ConverterInstallError."""
        self._tell("creating", "", 0, 0)
        code, output = self._run((sys.executable, "-I", "-m", "venv", str(environment)))
        if code:
            raise self._failure("the environment could not be made", output)

    def has(self, requirement: str) -> bool:
        """Whether pip finds `requirement` where the user's settings tell it to look."""
        self._tell("downloading", "", 0, 0)
        code, _ = self._run(self._pip("install", "--dry-run", "--no-deps", "--ignore-installed", requirement))
        return code == 0

    def install(self, requirements: tuple[str, ...], index: str | None) -> None:
        """Install, looking at `index` too. Raises ConverterInstallError or ConverterDownloadError."""
        self._tell("downloading", "", 0, 0)
        beside = ("--extra-index-url", index) if index else ()
        code, output = self._run(self._pip("install", *beside, *requirements))
        if not code:
            return
        advice = None
        if index:
            advice = (
                f"torch without CUDA comes from {index}: let pip reach it, or set PIP_EXTRA_INDEX_URL or "
                f"PIP_FIND_LINKS to a place that has it; {ANY_TORCH}=any takes PyPI's build, of several GB"
            )
        raise self._download_failure(output, advice)

    def fetch(self, requirement: str) -> Path:
        """Download a source distribution, and build nothing. Raises as `install` does."""
        self._tell("downloading", "", 0, 0)
        name = requirement.partition("=")[0]
        place = self._temporary / "source"
        # pip asks a source distribution for its metadata, for which it fetches what builds it.
        options = ("--no-deps", "--no-binary", name, "--dest", str(place))
        code, output = self._run(self._pip("download", *options, requirement))
        archive = next(place.glob("*.tar.gz"), None)
        if code == 0 and archive is not None:
            return archive
        raise self._download_failure(output)

    def ask(self, runner: Path) -> dict[str, str]:
        """Start the converter, which tells the versions of what it consists of. Raises ConverterInstallError."""
        self._tell("trying", "", 0, 0)
        code, output = self._run((str(self._python), "-I", str(runner), "--versions"))
        try:
            return msgspec.json.decode(output.splitlines()[-1] if code == 0 else "", type=dict[str, str])
        except (msgspec.DecodeError, IndexError) as error:
            raise self._failure("the converter was installed and does not start", output) from error

    def _pip(self, *arguments: str) -> tuple[str, ...]:
        return (str(self._python), "-I", "-m", "pip", *arguments)

    def _run(self, command: tuple[str, ...]) -> tuple[int, str]:
        """The exit code and output of a command; its progress is told. Whatever happens, its children end."""
        try:
            # What pip leaves in its temporary folder goes with ours.
            process = start(command, {**PIP_SETTINGS, "TMPDIR": str(self._temporary)})
        except OSError as error:
            message = f"{command[0]} cannot be started: {error.strerror}"
            raise ConverterInstallError(message, self._log.name) from error
        assert process.stdout is not None
        said: list[str] = []
        step: tuple[Phase, str, int] | None = None
        try:
            for line in output_lines(process.stdout):
                begun = None
                if line is not None:
                    said.append(line)
                    self._log.write(line)
                    begun = _step(line)
                    step = begun or step
                if step and (begun or line is None):
                    done = self._arrived(step[1]) if step[0] == "downloading" else 0
                    self._tell(step[0], step[1], min(done, step[2]), step[2])
            code = process.wait()
        except BaseException:
            end_group(process)
            raise
        self._log.flush()
        return code, "".join(said)

    def _arrived(self, name: str) -> int:
        """Bytes of the file that pip is fetching, which it writes below its temporary folder."""
        found = 0
        for folder, _, files in os.walk(self._temporary):
            if name in files:
                try:
                    found = max(found, Path(folder, name).stat().st_size)
                except OSError:  # pip has moved it
                    continue
        return found

    def _download_failure(self, output: str, advice: str | None = None) -> ConverterInstallError:
        if not NETWORK_FAILURE.search(output):
            return self._failure("the converter could not be installed", output)
        return ConverterDownloadError(
            "the converter could not be downloaded", self._log.name, _words(output), advice
        )

    def _failure(self, what: str, output: str) -> ConverterInstallError:
        advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, output)), None)
        return ConverterInstallError(what, self._log.name, _words(output), advice)


def _step(line: str) -> tuple[Phase, str, int] | None:
    """What a line of pip's says it begins: the phase, the file, its bytes."""
    if _INSTALLING.search(line):
        return "installing", "", 0
    found = _DOWNLOADING.search(line)
    if not found:
        return None
    total = int(float(found[2]) * _UNITS[found[3]]) if found[2] else 0
    return "downloading", found[1].rsplit("/", 1)[-1], total


def _words(output: str) -> tuple[str, ...]:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)]
    return tuple(dict.fromkeys(telling))[-_WORDS:] or tuple(lines[-_WORDS:])
