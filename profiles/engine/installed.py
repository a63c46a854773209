"""Which engine is installed, told without loading it.

Results that depend on the engine (measurements, calibrations) are kept under its identity, and every start of
the program may ask for that: so it is read from file names, sizes and dates, in about a millisecond. Whether the
engine also runs is another question; `slm-advisor doctor` asks it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

DISTRIBUTION = "llama-cpp-python"
_LIBRARY_SUFFIXES = (".so", ".dylib", ".dll")
_DIGEST_CHARACTERS = 8


class InstalledEngine(msgspec.Struct, frozen=True, kw_only=True):
    """The engine that a worker would load. `digest` changes with every build, also of the same version."""

    version: str  # of llama-cpp-python, "0.3.36"; "unknown" where its metadata is gone
    folder: str  # that holds the shared libraries
    digest: str  # hexadecimal, of the libraries' names, sizes and dates

    @property
    def identity(self) -> str:
        """What results of this engine are kept under: "llama-cpp-python 0.3.36 (1a2b3c4d)"."""
        return f"{DISTRIBUTION} {self.version} ({self.digest})"


def installed_engine() -> InstalledEngine | None:
    """The engine of the running interpreter, or None where llama-cpp-python is not installed. Imports nothing."""
    from importlib.util import find_spec

    spec = find_spec("llama_cpp")
    if spec is None or spec.origin is None:  # without an origin it is what an uninstalled package left behind
        return None
    package = Path(spec.origin).parent
    folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or package / "lib")  # as llama_cpp itself looks for it
    return InstalledEngine(version=_version(package.parent), folder=str(folder), digest=_digest(folder))


def _version(site: Path) -> str:
    for metadata in site.glob("llama_cpp_python-*.dist-info"):
        return metadata.stem.partition("-")[2]
    # An editable install keeps its metadata elsewhere. Not asked first: the import takes 15 ms.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def _digest(folder: Path) -> str:
    import hashlib

    lines = []
    try:
        for entry in os.scandir(folder):
            if entry.name.endswith(_LIBRARY_SUFFIXES):
                status = entry.stat()
                lines.append(f"{entry.name} {status.st_size} {status.st_mtime_ns}\n")
    except OSError:  # no libraries is still an engine, though a broken one
        pass
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:_DIGEST_CHARACTERS]
