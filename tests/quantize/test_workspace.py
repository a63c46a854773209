"""A folder that is built beside its place: whole or not there, whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantize.errors import OccupiedError
from quantize.workspace import MARK, check_free, workspace

BUILDER = """
import sys, time
from pathlib import Path
from quantize.workspace import workspace
with workspace(Path(sys.argv[1]), replace=False) as work:
    (work.path / "model.gguf").write_bytes(b"half")
    print("working", flush=True)
    time.sleep(60)
    work.publish()
"""


def finish(target: Path, content: bytes, *, replace: bool = False) -> None:
    with workspace(target, replace=replace) as work:
        (work.path / "model.gguf").write_bytes(content)
        (work.path / MARK).write_text("{}")
        work.publish()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    finish(tmp_path / "out" / "model", b"weights")
    assert left(tmp_path / "out") == ["model"]
    assert left(tmp_path / "out" / "model") == [MARK, "model.gguf"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with workspace(tmp_path / "model", replace=False) as work:
            (work.path / "model.gguf").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert left(tmp_path) == []


def test_a_finished_build_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "model"
    finish(target, b"first")
    with pytest.raises(OccupiedError, match="--replace"):
        finish(target, b"second")
    assert (target / "model.gguf").read_bytes() == b"first"
    finish(target, b"second", replace=True)
    assert (target / "model.gguf").read_bytes() == b"second"
    assert left(tmp_path) == ["model"]


def test_a_failed_replacement_leaves_the_build_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model"
    finish(target, b"first")
    with pytest.raises(RuntimeError), workspace(target, replace=True):
        raise RuntimeError
    assert (target / "model.gguf").read_bytes() == b"first"


@pytest.mark.parametrize("make", ["file", "folder", "link"])
def test_what_is_no_build_is_never_replaced(tmp_path: Path, make: str) -> None:
    target = tmp_path / "model"
    if make == "file":
        target.write_text("mine")
    elif make == "folder":
        target.mkdir()
        (target / "mine").write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OccupiedError, match="no build"):
        check_free(target, replace=True)
    with pytest.raises(OccupiedError), workspace(target, replace=True):
        pytest.fail("it was taken")
    assert left(tmp_path) == ["model"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_killed_build_leaves_no_name_and_can_be_started_again(
    tmp_path: Path, number: signal.Signals
) -> None:
    """After SIGKILL the unfinished folder stays under its own name until the next build of the same target."""
    target = tmp_path / "model"
    command = [sys.executable, "-c", BUILDER, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        process.send_signal(number)
    assert not target.exists()
    if number != signal.SIGKILL:
        assert left(tmp_path) == []
    finish(target, b"weights")
    assert left(tmp_path) == ["model"]


def test_a_second_build_of_the_same_target_is_refused_and_names_the_first(tmp_path: Path) -> None:
    target = tmp_path / "model"
    command = [sys.executable, "-c", BUILDER, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        with pytest.raises(OccupiedError, match=f"process {process.pid}"):
            finish(target, b"weights")
        assert (tmp_path / ".model.building" / "model.gguf").read_bytes() == b"half"
        finish(tmp_path / "another", b"weights")  # beside it there is room
        process.terminate()
    finish(target, b"weights")


def test_a_build_that_was_being_replaced_when_the_power_went_comes_back(tmp_path: Path) -> None:
    """Between the two renames the old build has another name."""
    target = tmp_path / "model"
    finish(target, b"first")
    target.rename(tmp_path / ".model.old")
    with pytest.raises(OccupiedError):
        finish(target, b"second")
    assert (target / "model.gguf").read_bytes() == b"first"


def test_of_builds_that_race_one_wins_each_time(tmp_path: Path) -> None:
    """Locks are files that come and go: nobody may hold one that is no longer there."""
    script = """
import sys
from pathlib import Path
from quantize.errors import OccupiedError
from quantize.workspace import MARK, workspace
done = 0
while done < 5:
    try:
        with workspace(Path(sys.argv[1]), replace=True) as work:
            (work.path / "model.gguf").write_text("x" * 100)
            (work.path / MARK).write_text("{}")
            assert [p.name for p in work.path.iterdir()] != [], "somebody else removed our folder"
            work.publish()
            done += 1
    except OccupiedError:
        pass
print(done)
"""
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "model")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert int(out) == 5
    assert time.monotonic() - started < 120
    assert left(tmp_path) == ["model"]
