"""The POSIX shells of this machine, each under the name `sh`, as prefixes that lead to a target."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

SHELLS = ("dash", "busybox", "mksh", "bash")


def shell_prefix(name: str, folder: Path, **environment: str) -> str:
    """A prefix for which `sh` is that shell; `environment` is set there, PATH comes before the one of this machine."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    place = folder / f"shell-{name}"
    place.mkdir(exist_ok=True)
    link = place / "sh"
    if not link.exists():
        link.symlink_to(program)
    path = ":".join(
        [str(place), *([environment.pop("PATH")] if "PATH" in environment else []), "/usr/bin", "/bin"]
    )
    settings = [f"{key}={value}" for key, value in {"PATH": path, **environment}.items()]
    return shlex.join(["env", "-u", "KSH_VERSION", *settings])
