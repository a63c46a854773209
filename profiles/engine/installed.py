"""Which engine is installed, told without loading it.

Results that depend on the engine (measurements, calibrations) are kept under its identity, and every start of
the program may ask for that: so it is read from what the installer wrote down of the files, in about a millisecond.
The same wheel installed again is the same engine. Whether the engine also runs is another question;
`slm-advisor doctor` asks it.
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
    digest: str  # hexadecimal, of the libraries' names and contents; else of names, sizes and dates

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
    metadata = next(package.parent.glob("llama_cpp_python-*.dist-info"), None)
    return InstalledEngine(
        version=_version(metadata), folder=str(folder), digest=_digest(folder, _recorded(metadata, folder))
    )


def _version(metadata: Path | None) -> str:
    if metadata is not None:
        return metadata.stem.partition("-")[2]
    # An editable install keeps its metadata elsewhere. Not asked first: the import takes 15 ms.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def _recorded(metadata: Path | None, folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and size of each library as the installer recorded them; empty where it recorded none.

    https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file
    """
    if metadata is None:
        return {}
    found = {}
    try:
        lines = (metadata / "RECORD").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):  # a distribution's package manager may leave it out
        return {}
    for line in lines:
        path, _, rest = line.strip().rpartition(",sha256=")
        content, _, size = rest.partition(",")
        # Another folder's libraries, by LLAMA_CPP_LIB_PATH or an editable install, are not the recorded ones.
        if (
            path.endswith(_LIBRARY_SUFFIXES)
            and size.isdigit()
            and metadata.parent / path.rpartition("/")[0] == folder
        ):
            found[path.rpartition("/")[2]] = content, int(size)
    return found


def _digest(folder: Path, recorded: dict[str, tuple[str, int]]) -> str:
    """Of the recorded contents where every library is as large as recorded; one exchanged by hand is seen by that."""
    import hashlib

    sizes, dates = {}, {}
    try:
        for entry in os.scandir(folder):
            if entry.name.endswith(_LIBRARY_SUFFIXES):
                status = entry.stat()
                sizes[entry.name], dates[entry.name] = status.st_size, status.st_mtime_ns
    except OSError:  # no libraries is still an engine, though a broken one
        pass
    if sizes and sizes == {name: size for name, (_, size) in recorded.items()}:
        lines = [f"{name} {content}\n" for name, (content, _) in recorded.items()]
    else:
        lines = [f"{name} {size} {dates[name]}\n" for name, size in sizes.items()]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:_DIGEST_CHARACTERS]
