"""The data folder: where it is, and files in it that are whole whatever happens."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from profiles import data_folder as module
from profiles.data_folder import append_line, data_folder, locked, write_whole


def test_the_folder_is_where_xdg_says_and_in_the_home_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An absolute XDG_DATA_HOME counts; a relative one is, as its specification says, not set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert data_folder() == tmp_path / "data" / "slm-advisor"
    for unset in ("", "somewhere"):
        monkeypatch.setenv("XDG_DATA_HOME", unset)
        assert data_folder() == tmp_path / ".local" / "share" / "slm-advisor"


@pytest.mark.skipif(sys.platform == "win32", reason="homes come from elsewhere")
def test_a_user_without_a_home_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """None says so; nothing is written into the current folder instead."""

    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert data_folder() is None


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    """A failure half way leaves the old content and no temporary file."""
    path = tmp_path / "new folder" / "file"
    write_whole(path, b"old")
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are otherwise there")
def test_a_file_may_be_read_by_whom_the_user_lets_read_files(tmp_path: Path) -> None:
    """A deployment's files are for a container or a service too: the mode is that of any new file."""
    plain = tmp_path / "plain"
    plain.touch()
    write_whole(tmp_path / "file", b"whole")
    assert (tmp_path / "file").stat().st_mode == plain.stat().st_mode


def test_a_line_cut_off_by_a_crash_spoils_only_itself(tmp_path: Path) -> None:
    """The next line starts a line of its own."""
    path = tmp_path / "lines"
    append_line(path, b"one")
    path.write_bytes(path.read_bytes() + b"cut o")
    append_line(path, b"two")
    assert path.read_bytes() == b"one\ncut o\ntwo\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_error_and_not_half_a_line() -> None:
    """The operating system's own error says what is wrong."""
    with pytest.raises(OSError, match="No space left"):
        append_line(Path("/dev/full"), b"line")


def test_a_lock_that_another_holds_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second holder gets a TimeoutError that names the file; after the first is done it gets the lock."""
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.05)
    path = tmp_path / "store"
    with locked(path), pytest.raises(TimeoutError, match="store"), locked(path):
        pass
    with locked(path):
        pass
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Locking, the first thing a writer does, says so."""
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), locked(tmp_path / "store"):
        pass
