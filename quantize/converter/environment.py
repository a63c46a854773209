"""The converter of llama.cpp in a virtual environment of its own.

It comes with a `gguf` package and wants an older transformers than others do. The environment lies in the user's
data folder under a key made of what is in it, so that an upgrade makes a new one. It is built beside its place,
tried, and renamed: there is a whole one or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from profiles.data_folder import data_folder, locked
from profiles.offline import no_network
from profiles.orderly_end import orderly_end
from quantize.converter import llama_cpp
from quantize.converter.installation import ANY_TORCH, Installation, Phase, Tell
from quantize.errors import ConverterDownloadError, ConverterInstallError, ConverterMissingError, NoRoomError

RUNNER = Path(__file__).with_name("runner.py")

# docs/decisions/0005 says why these. transformers and protobuf are what llama.cpp itself pins for its converter.
TORCH = "2.13.0"
REQUIREMENTS = (
    "transformers==4.57.6",
    "protobuf>=4.21,<5",
    "sentencepiece>=0.2.1,<0.3",
    "numpy>=2.2",
    "pyyaml>=5.1",
    "requests>=2.25",
    "tqdm>=4.27",
)
# PyPI's torch for Linux brings CUDA, 3 GB of it; "+cpu" names the build without, which can be nothing else.
_CPU_BUILD = "+cpu" if sys.platform == "linux" else ""
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_FACTS = "converter.json"

# Measured on Linux x86-64: torch 192 MB, llama-cpp-python's source 77 MB, the rest 60 MB; 1.2 GB unpacked. PyPI's
# torch for Linux, by the sizes of its wheels: about.
_DOWNLOAD_BYTES, _DISK_BYTES = 330_000_000, 1_200_000_000
_CUDA_DOWNLOAD_BYTES, _CUDA_DISK_BYTES = 3_500_000_000, 8_000_000_000
_MEMORY_BYTES = 300_000_000  # of pip while it unpacks torch, and of the first start: 294 MB measured


class Converter(msgspec.Struct, frozen=True):
    """An environment that works. `versions`: distribution -> version of what a conversion depends on."""

    python: str
    folder: str
    versions: dict[str, str]

    @property
    def version(self) -> str:
        """The converter in a few words."""
        return f"llama.cpp's converter (of {llama_cpp.DISTRIBUTION} {self.versions.get(llama_cpp.DISTRIBUTION, '?')})"


class ConverterPlan(msgspec.Struct, frozen=True):
    """What installing takes. The bytes are approximate: what pip fetches depends on the platform and its cache."""

    folder: str
    requirements: tuple[str, ...]
    download_bytes: int
    disk_bytes: int
    memory_bytes: int


class InstallProgress(msgspec.Struct, frozen=True):
    """Where the installation is. `done_bytes` of `total_bytes` of the file `what` have come; 0 of 0: not known."""

    phase: Phase
    what: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    elapsed_s: float = 0.0


class _Facts(msgspec.Struct):
    versions: dict[str, str]


def find_converter() -> Converter | None:
    """The environment for this version of slm-advisor and Python, or None. Starts nothing."""
    with contextlib.suppress(ConverterInstallError, OSError, msgspec.DecodeError):
        folder = _place()
        facts = msgspec.json.decode(folder.joinpath(_FACTS).read_bytes(), type=_Facts)
        python = _python(folder)
        if python.exists():  # the interpreter that it was made with may have been removed
            return Converter(str(python), str(folder), facts.versions)
    return None


def require_converter() -> Converter:
    """The environment; raises ConverterMissingError, which says what installs it."""
    found = find_converter()
    if found is None:
        raise ConverterMissingError(
            "converting safetensors needs llama.cpp's converter, which is kept in an environment of its own and is "
            "not installed: slm-advisor build MODEL:QUANT --source FOLDER installs it"
        )
    return found


def require_network() -> None:
    """Raise ConverterDownloadError where `install_converter` must not fetch what it needs."""
    forbidden = no_network("installing the converter")
    if forbidden is not None:
        raise ConverterDownloadError(forbidden, advice="give a GGUF as the source, or install it first")


def converter_plan() -> ConverterPlan:
    """What `install_converter` would do. Raises ConverterInstallError for a user without a data folder."""
    any_torch = os.environ.get(ANY_TORCH) == "any"
    large = any_torch and bool(_CPU_BUILD)
    return ConverterPlan(
        folder=str(_place()),
        requirements=(
            f"torch=={TORCH}{'' if any_torch else _CPU_BUILD}",
            *REQUIREMENTS,
            llama_cpp.REQUIREMENT,
        ),
        download_bytes=_CUDA_DOWNLOAD_BYTES if large else _DOWNLOAD_BYTES,
        disk_bytes=_CUDA_DISK_BYTES if large else _DISK_BYTES,
        memory_bytes=_MEMORY_BYTES,
    )


def install_converter(report: Callable[[InstallProgress], None]) -> Converter:
    """Make the environment, unless it is there already. SLM_ADVISOR_TORCH=any accepts PyPI's torch, on Linux with CUDA.

    Raises ConverterInstallError with pip's last words (ConverterDownloadError when the network is to blame) and
    NoRoomError; whatever happens, Ctrl-C and SIGTERM too, nothing half-made stays and no process does.
    """
    plan = converter_plan()
    place = Path(plan.folder)
    started = time.monotonic()

    def tell(phase: Phase, what: str = "", done: int = 0, total: int = 0) -> None:
        report(InstallProgress(phase, what, done, total, time.monotonic() - started))

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place), orderly_end():
            found = find_converter()
            if found is not None:
                return found
            require_network()
            for left in place.parent.glob(f".{place.name}-*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            free = shutil.disk_usage(place.parent).free
            if free < plan.disk_bytes + plan.download_bytes:
                needed = (plan.disk_bytes + plan.download_bytes) / 1e9
                raise NoRoomError(
                    f"{place.parent} has {free / 1e9:.1f} GB free, and the converter's environment takes about "
                    f"{needed:.1f} GB while it is made: free some, or set XDG_DATA_HOME to a disk with more"
                )
            return _build(place, plan, tell)
    except TimeoutError as error:
        raise ConverterInstallError(
            "another process is installing the converter", advice="wait until it is done, and run this again"
        ) from error
    except OSError as error:
        raise ConverterInstallError(f"{place} cannot be made: {error.strerror or error}") from error


def _build(place: Path, plan: ConverterPlan, tell: Tell) -> Converter:
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as scratch:
        environment = Path(scratch, "environment")
        with Installation(_python(environment), Path(scratch, "temporary"), tell) as installation:
            installation.create(environment)
            torch, *others, source = plan.requirements
            # The user's own indexes come first: one with a CPU build spares those without internet a long wait.
            wanted = torch.endswith("+cpu") and not installation.has(torch)
            installation.install((torch, *others), CPU_INDEX if wanted else None)
            llama_cpp.unpack(installation.fetch(source), environment / "llama.cpp")
            versions = installation.ask(RUNNER)
        environment.joinpath(_FACTS).write_bytes(
            msgspec.json.encode(_Facts({llama_cpp.DISTRIBUTION: llama_cpp.VERSION, **versions}))
        )
        if place.exists():  # whole once, and without its interpreter now
            place.rename(Path(scratch, "old"))
        environment.rename(place)
    found = find_converter()
    if found is None:
        raise ConverterInstallError(f"{place} was installed and has vanished")
    return found


def _place() -> Path:
    folder = data_folder()
    if folder is None:
        raise ConverterInstallError("this user has no home folder", advice="set XDG_DATA_HOME to a folder")
    key = hashlib.sha256("\n".join((TORCH, *REQUIREMENTS, llama_cpp.SHA256)).encode()).hexdigest()[:8]
    return folder / f"converter-{key}-py{sys.version_info.major}.{sys.version_info.minor}"


def _python(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
