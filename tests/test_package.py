"""The wheel: what it holds, and that it works away from the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_three_packages_and_their_tables(wheel: Path) -> None:
    """Exactly `advisor`, `profiles` and `quantize`; the tables with them, how they were made not."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "advisor",
        "profiles",
        "quantize",
    }
    for table in ("advisor/catalog/index.json", "advisor/speed.json", "advisor/quality.json"):
        assert table in names
    assert "profiles/library/index.json" in names
    assert "profiles/collect.sh" in names
    assert "advisor/locale/ja/LC_MESSAGES/slm-advisor.mo" in names
    assert not [name for name in names if name.startswith("advisor/making")]


def test_the_wheel_recommends_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, the command answers from its own tables."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from advisor.cli.main import main; main()"
    command = [sys.executable, "-c", script, "recommend", "--device", "Pixel 9", "--task", "voice", "--json"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recommendations"]
