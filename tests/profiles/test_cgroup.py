"""A real control group: made, filled and read, where this test may make one."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20
LIMIT = 512 * MIB


@pytest.fixture
def limited_group() -> Iterator[tuple[Path, Path]]:
    """(group with a 512 MiB limit, unlimited group inside of it), removed afterwards."""
    for controller, file in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        outer = controller / f"slm-advisor-test-{uuid.uuid4().hex[:8]}"
        inner = outer / "inner"
        try:
            outer.mkdir()
        except OSError:
            continue
        try:
            if not (outer / file).exists():
                continue
            (outer / file).write_text(str(LIMIT))
            if file == "memory.max":
                (outer / "cgroup.subtree_control").write_text("+memory")
            inner.mkdir()
            yield outer, inner
            return
        except OSError:
            continue
        finally:
            for folder in (inner, outer):
                if folder.exists():
                    folder.rmdir()
    pytest.skip("this process may not make a memory control group")


def run_inside(group: Path, code: str) -> str:
    """Standard output of Python code in a process that first joined the group."""
    join = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    result = subprocess.run([sys.executable, "-c", join + code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_limit_of_a_group_above_is_found(limited_group: tuple[Path, Path]) -> None:
    """A process in an unlimited group inside a 512 MiB group has 512 MiB, less what it uses."""
    _, inner = limited_group
    code = "from profiles.detect import detect; m = detect().memory; print(m.limit_bytes, m.budget_now_bytes)"
    limit, budget = map(int, run_inside(inner, code).split())
    assert limit == LIMIT
    assert 300 * MIB < budget < LIMIT


def test_page_cache_does_not_eat_the_budget(limited_group: tuple[Path, Path], tmp_path: Path) -> None:
    """After reading a 256 MiB file the group's usage has risen by it, and the budget has not fallen by it."""
    _, inner = limited_group
    file = tmp_path / "big"
    code = (
        f"open({str(file)!r}, 'wb').write(bytes(256 << 20)); os.sync()\n"
        f"open({str(file)!r}, 'rb').read(256 << 20)[:0]\n"
        "from profiles.detect import detect; print(detect().memory.budget_now_bytes)"
    )
    budget = int(run_inside(inner, code))
    assert budget > 300 * MIB
