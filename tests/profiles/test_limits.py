"""A process held to an amount of memory and a number of cores: real groups, real kills, real affinity."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from profiles.engine.client import Engine
from profiles.limits import Limits, Method, confine, usable_cores

MB = 1_000_000
GROUPS: tuple[Method, ...] = ("cgroup v2", "cgroup v1")
TAKE = "import sys; data = bytearray(int(sys.argv[1])); data[::4096] = bytes(len(data[::4096])) ; print(len(data))"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups and affinity are Linux's")


def take(limits: Limits, size: int) -> subprocess.CompletedProcess[str]:
    """A process that touches `size` bytes."""
    command = [*limits.prefix, sys.executable, "-c", TAKE, str(size)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def grouped(limits: Limits) -> str:
    if limits.group is None:
        pytest.skip(f"no control group may be made here: {limits.memory_problem}")
    return limits.group


def test_a_process_in_a_group_lives_within_its_limit_and_is_killed_past_it() -> None:
    """The kernel's counter says so, and the folder is gone afterwards."""
    with confine(memory_bytes=100 * MB, methods=GROUPS) as limits:
        folder = Path(grouped(limits))
        assert take(limits, 30 * MB).stdout.strip() == str(30 * MB)
        assert limits.oom_kills() == 0
        assert take(limits, 200 * MB).returncode == -signal.SIGKILL
        assert limits.oom_kills() == 1
    assert not folder.exists()


def test_a_group_goes_with_what_is_left_in_it_however_the_block_ends() -> None:
    """Ctrl-C while a process sleeps in it: the process is killed, and the folder removed."""
    left: subprocess.Popen[bytes] | None = None
    folder = Path()

    def interrupted() -> None:
        nonlocal left, folder
        with confine(memory_bytes=100 * MB, methods=GROUPS) as limits:
            folder = Path(grouped(limits))
            left = subprocess.Popen([*limits.prefix, "sleep", "60"])
            until = time.monotonic() + 20
            while str(left.pid) not in (folder / "cgroup.procs").read_text().split():
                assert time.monotonic() < until
                time.sleep(0.02)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert left is not None
    assert left.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_a_group_whose_maker_was_killed_is_removed_by_the_next() -> None:
    """Nobody else would."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    with confine(memory_bytes=100 * MB, methods=GROUPS) as limits:
        stale = Path(grouped(limits)).with_name(f"slm-advisor-{gone.pid}")
        stale.mkdir()
    with confine(memory_bytes=100 * MB, methods=GROUPS) as limits:
        assert not stale.exists()
        assert Path(grouped(limits)).exists()


def test_without_groups_a_process_is_refused_what_it_may_not_reserve() -> None:
    """RLIMIT_DATA: no kill, but an error in the process itself."""
    with confine(memory_bytes=100 * MB, methods=("RLIMIT_DATA",)) as limits:
        assert (limits.method, limits.group, limits.oom_kills()) == ("RLIMIT_DATA", None, None)
        assert take(limits, 30 * MB).returncode == 0
        refused = take(limits, 200 * MB)
        assert refused.returncode == 1
        assert "MemoryError" in refused.stderr


def test_what_cannot_be_limited_is_said_and_not_limited() -> None:
    """More cores than there are, and no way to limit memory: a reason each, and no words before the command."""
    with confine(memory_bytes=MB, cores=10_000, methods=()) as limits:
        assert (limits.method, limits.memory_bytes, limits.cpus, limits.prefix) == (None, None, (), ())
        assert "10000 cores" in limits.cores_problem
        assert limits.memory_problem
    with confine() as limits:
        assert limits == Limits()


def test_a_process_keeps_to_one_cpu_of_each_core() -> None:
    """Threads it starts inherit that; two siblings are not two cores."""
    say = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"
    with confine(cores=1) as limits:
        out = subprocess.run([*limits.prefix, sys.executable, "-c", say], capture_output=True, check=True)
    assert json.loads(out.stdout) == [usable_cores()[0]]
    assert set(usable_cores()) <= os.sched_getaffinity(0)


@pytest.mark.engine
def test_the_worker_of_the_engine_is_under_the_limits_before_it_is_asked_anything() -> None:
    """Its affinity and its group, as the kernel has them."""
    with confine(memory_bytes=500 * MB, cores=1) as limits, Engine(prefix=limits.prefix) as engine:
        engine.version()
        assert engine.pid is not None
        status = Path(f"/proc/{engine.pid}/status").read_text()
        assert f"Cpus_allowed_list:\t{limits.cpus[0]}\n" in status
        if limits.group is not None:
            assert Path(limits.group).name in Path(f"/proc/{engine.pid}/cgroup").read_text()
        else:
            assert str(limits.memory_bytes) in Path(f"/proc/{engine.pid}/limits").read_text()
