"""llama.cpp's converter, taken out of the source distribution of llama-cpp-python.

That holds the converter and the `gguf` package of the very commit that the engine was built from
(docs/decisions/0005). The archive is known by its hash: what is run is what was tested.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from quantize.errors import ConverterInstallError

DISTRIBUTION = "llama-cpp-python"
VERSION = "0.3.36"  # llama.cpp 0c1e57098
REQUIREMENT = f"{DISTRIBUTION}=={VERSION}"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_ROOT = PurePosixPath(f"llama_cpp_python-{VERSION}/vendor/llama.cpp")
_TAKEN = ("LICENSE", "convert_hf_to_gguf.py", "conversion", "gguf-py/gguf", "models/templates")


def unpack(archive: Path, folder: Path, *, sha256: str = SHA256) -> None:
    """Put the converter into `folder`, which is made. Raises ConverterInstallError for another archive."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise ConverterInstallError(
            f"{archive.name} is not the file that slm-advisor was tested with (SHA-256 {digest}, expected {sha256})",
            advice="let pip fetch it from PyPI",
        )
    with tarfile.open(archive) as content:
        for member in content:
            path = PurePosixPath(member.name)
            if not member.isfile() or not path.is_relative_to(_ROOT) or ".." in path.parts:
                continue
            inside = path.relative_to(_ROOT)
            if any(inside.is_relative_to(taken) for taken in _TAKEN):
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                data = content.extractfile(member)
                assert data is not None
                with data, target.open("wb") as out:
                    shutil.copyfileobj(data, out)
