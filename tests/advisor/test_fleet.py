"""A fleet: every device gets what `recommend` gives it, and the few files that cover all are the fewest, and good."""

from __future__ import annotations

import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.errors import ClusterError
from advisor.fleet.coverage import Coverage
from advisor.fleet.decide import NOT_THERE
from advisor.fleet.process_pool import map_on_processes
from tests.advisor.conftest import LAPTOP, Call

PROGRAM = (sys.executable, "-c", "from advisor.cli.main import main; main()")
NAMES = ("Raspberry Pi 5 8GB", "Pixel 9", "NVIDIA GeForce RTX 4070", "Apple M2 Pro")


def lines_in(path: Path, *lines: object) -> Path:
    """A file with each line as JSON, bytes as they are."""
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return path


def answers_of(out: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The devices' answers, and the fleet's."""
    *devices, fleet = [json.loads(line) for line in out.splitlines()]
    return devices, fleet


def test_each_device_gets_what_recommend_gives_it(call: Call, tmp_path: Path) -> None:
    """Model, quantization, settings and numbers are those of `recommend --device`, for names and for objects."""
    own = tmp_path / "own.json"
    own.write_text(json.dumps(LAPTOP))
    fleet = lines_in(tmp_path / "fleet.jsonl", *NAMES, {"id": "desk 4", "device": LAPTOP}, LAPTOP)
    code, out, _ = call("recommend", "--devices", fleet, "--task", "chat", "--top", 4, "--json")
    assert code == 0
    devices, document = answers_of(out)
    assert document["schema"] == "slm-advisor/fleet"
    assert [each["line"] for each in devices] == [1, 2, 3, 4, 5, 6]
    assert devices[4]["id"] == "desk 4"
    assert devices[4]["recommendations"] == devices[5]["recommendations"]
    for answer, name in zip(devices, (*NAMES, own, own), strict=True):
        _, alone, _ = call("recommend", "--device", name, "--task", "chat", "--top", 4, "--json")
        for ours, theirs in zip(answer["recommendations"], json.loads(alone)["recommendations"], strict=True):
            for field in ("model", "quant", "backend", "tg_tokens_per_s", "ttft_s", "file_bytes"):
                assert ours[field] == theirs[field]
            assert ours["context_length"] == theirs["settings"]["context_length"]
            assert ours["type_k"] == theirs["settings"]["type_k"]
            assert ours["memory_bytes"] == theirs["memory"]["reserved_bytes"]
            assert ours["score"] == theirs["score"]["total"]


def test_many_devices_over_processes_are_answered_in_order(tmp_path: Path, call: Call) -> None:
    """A hundred and fifty lines, of a pipe: the answers of the processes stand in the order of the lines."""
    lines = [{"id": n, "device": NAMES[n % len(NAMES)]} for n in range(150)]
    fleet = lines_in(tmp_path / "fleet.jsonl", *lines)
    done = subprocess.run(
        [*PROGRAM, "recommend", "--devices", "-", "--top", "1", "--json"],
        input=fleet.read_bytes(),
        capture_output=True,
        check=True,
    )
    devices, document = answers_of(done.stdout.decode())
    assert [each["id"] for each in devices] == list(range(150))
    assert document["devices"] == 150
    _, out, _ = call("recommend", "--devices", fleet, "--top", 1, "--json")
    assert answers_of(out)[0] == devices


def test_a_mark_before_the_first_line_is_no_part_of_it(call: Call, tmp_path: Path) -> None:
    """As Windows programs write UTF-8; anywhere else it is a fault of its line."""
    fleet = tmp_path / "fleet.jsonl"
    fleet.write_bytes(b'\xef\xbb\xbf{"device": "Pixel 9"}\n\xef\xbb\xbf{"device": "Pixel 9"}\n')
    _, out, _ = call("recommend", "--devices", fleet, "--top", 1, "--json")
    first, second = answers_of(out)[0]
    assert (first["device"], first.get("error")) == ("Google Pixel 9", None)
    assert "malformed" in second["error"]


def test_what_is_no_device_is_said_in_its_place(call: Call, tmp_path: Path) -> None:
    """Wrong names, other JSON, no JSON, no UTF-8, a file's name, a line too long: an answer each, and exit code 3."""
    secret = tmp_path / "device.json"
    secret.write_text(json.dumps(LAPTOP))
    bad: list[object] = [
        {"id": 7, "device": "Pxel 9"},
        None,
        [1],
        {"device": "Pixel 9", "extra": 1},
        {"device": None},
        b"{",
        b'"\xff"',
        str(secret),
        b'"' + b"x" * (1 << 21) + b'"',
        b"[" * 100_000,
        {"memory": {"total_bytes": 5}},
    ]
    fleet = lines_in(tmp_path / "fleet.jsonl", "Pixel 9", b"", *bad, "Apple M2 Pro")
    code, out, _ = call("recommend", "--devices", fleet, "--json")
    devices, document = answers_of(out)
    assert code == 3
    assert [each["line"] for each in devices] == [1, *range(3, 3 + len(bad) + 1)]
    assert document["devices"] == 2
    assert document["failed"] == len(bad)
    wrong = devices[1:-1]
    assert all(each["error"] and not each["recommendations"] for each in wrong)
    assert wrong[0]["id"] == 7
    assert any("Pixel 9" in name for name in wrong[0]["nearest"])
    assert all("internal" not in each["error"] for each in wrong)


def test_an_id_that_no_answer_can_carry_costs_only_its_own_line(call: Call, tmp_path: Path) -> None:
    """More than 64 bits is refused in its place; the greatest and the smallest that fit, and 0, come back."""
    good = [2**64 - 1, -(2**63), 0]
    lines = [{"id": each, "device": "Pixel 9"} for each in (*good, 2**64, -(2**63) - 1)]
    fleet = lines_in(tmp_path / "fleet.jsonl", *lines, {"id": 0, "device": "Pixel 9", "extra": 1})
    code, out, _ = call("recommend", "--devices", fleet, "--top", 1, "--json")
    devices, document = answers_of(out)
    assert code == 3
    assert [each["id"] for each in devices] == [*good, None, None, 0]
    assert document["devices"] == 3
    assert all("64 bits" in each["error"] for each in devices[3:5])


def test_answers_in_an_encoding_without_the_characters_of_an_id_are_json_all_the_same(tmp_path: Path) -> None:
    """stdout is ASCII: the id is spelled out, and reads back as it was."""
    fleet = lines_in(tmp_path / "fleet.jsonl", {"id": "机 4", "device": "Pixel 9"})
    done = subprocess.run(
        [*PROGRAM, "recommend", "--devices", str(fleet), "--top", "1", "--json"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert answers_of(done.stdout.decode("ascii"))[0][0]["id"] == "机 4"


def test_a_disk_that_is_full_is_an_error_on_a_line_of_its_own(tmp_path: Path) -> None:
    """Devices from a pipe are kept to be read twice: where they cannot be, the stream ends in an error, code 3."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); " + PROGRAM[2],
            *("recommend", "--devices", "-", "--top", "1", "--json"),
        ],
        input=b'"Pixel 9"' + b" " * 1000 + b"\n" + (b'"Pixel 9"' + b" " * 10_000 + b"\n") * 300,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    *devices, error = [json.loads(line) for line in done.stdout.splitlines()]
    assert error["schema"] == "slm-advisor/error"
    assert "TMPDIR" in error["error"]["message"]
    assert all(each["recommendations"] for each in devices)


def test_a_device_on_which_nothing_fits_says_what_comes_nearest(call: Call, tmp_path: Path) -> None:
    """It counts against the share, and the exit code is 3."""
    tiny = {"name": "tiny", "memory": {"total_bytes": 128 << 20, "bandwidth_bytes_per_s": 1e9}}
    fleet = lines_in(tmp_path / "fleet.jsonl", tiny, "Pixel 9", "Apple M2 Pro")
    code, out, _ = call("recommend", "--devices", fleet, "--json")
    devices, document = answers_of(out)
    assert code == 3
    assert devices[0]["recommendations"] == []
    assert "takes" in devices[0]["nearest_miss"] or "needs" in devices[0]["nearest_miss"]
    assert document["without"] == 1
    assert document["sets"][0]["share"] == pytest.approx(2 / 3)
    assert any("nothing fits on more than 66.7%" in note for note in document["notes"])


def test_the_table_for_people_fits_eighty_columns(call: Call, tmp_path: Path) -> None:
    """The share of each file and the sets are there, and no line is longer than a terminal."""
    fleet = lines_in(tmp_path / "fleet.jsonl", *NAMES)
    code, out, _ = call("recommend", "--devices", fleet, "--task", "chat", "--cover", "75%")
    assert code == 0
    assert "4 devices for task chat" in out
    assert "To cover 75%" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_a_policy_holds_for_every_device(call: Call, tmp_path: Path) -> None:
    """No file that the policy forbids is on any list, nor in any set."""
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nfamilies = ["qwen"]\n')
    fleet = lines_in(tmp_path / "fleet.jsonl", *NAMES)
    code, out, _ = call("recommend", "--devices", fleet, "--policy", policy, "--json")
    assert code == 0
    devices, document = answers_of(out)
    named = {each["name"] for device in devices for each in device["recommendations"]}
    assert named
    assert all("qwen" in name.lower() for name in named | {file["name"] for file in document["files"]})


@pytest.mark.parametrize(
    "arguments",
    [
        ("--devices", "FLEET", "--device", "Pixel 9"),
        ("--devices", "FLEET", "--confirm", "1"),
        ("--devices", "FLEET", "--why", "Qwen3-8B"),
        ("--devices", "nowhere.jsonl"),
        ("--devices", "FLEET", "--cover", "2"),
        ("--ray", "auto"),
    ],
)
def test_what_makes_no_sense_beside_a_fleet_is_refused(
    arguments: tuple[str, ...], call: Call, tmp_path: Path
) -> None:
    fleet = str(lines_in(tmp_path / "fleet.jsonl", "Pixel 9"))
    code, out, err = call("recommend", *(fleet if each == "FLEET" else each for each in arguments))
    assert code == 2
    assert out == ""
    assert err


# --- the files that cover a fleet -------------------------------------------------------------------------------


def row_of(scores: list[float | None]) -> bytes:
    return struct.pack(f"{len(scores)}f", *(NOT_THERE if score is None else score for score in scores))


matrices = st.integers(2, 6).flatmap(
    lambda n_files: st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 40).map(float)), min_size=n_files, max_size=n_files),
        min_size=1,
        max_size=9,
    )
)


@settings(max_examples=300, deadline=None)
@given(matrix=matrices, share=st.sampled_from([0.5, 0.75, 0.95, 1.0]))
def test_no_smaller_set_covers_as_much(matrix: list[list[float | None]], share: float) -> None:
    """Against every subset of the files: the first set is the fewest, and the next ones lose no more points."""
    rows: dict[bytes, int] = {}
    for scores in matrix:
        rows[row_of(scores)] = rows.get(row_of(scores), 0) + 1
    numbers = range(len(matrix[0]))

    def covered(files: tuple[int, ...]) -> int:
        return sum(any(scores[file] is not None for file in files) for scores in matrix)

    everything = covered(tuple(numbers))
    enough = min(-(-int(share * 100) * len(matrix) // 100), everything)
    coverage = Coverage(rows, len(numbers))
    found, proven = coverage.sets(share, most=2)
    assert proven
    fewest = next(
        size
        for size in range(len(numbers) + 1)
        if any(covered(files) >= enough for files in itertools.combinations(numbers, size))
    )
    assert len(found[0].files) == fewest
    for cover in found:
        assert cover.covered == covered(cover.files) >= enough
        lost = [
            max(score for score in scores if score is not None)
            - max(scores[file] or 0.0 for file in cover.files if scores[file] is not None)
            for scores in matrix
            if any(scores[file] is not None for file in cover.files)
        ]
        assert cover.points_lost == pytest.approx(sum(lost) / len(lost) if lost else 0.0, abs=1e-4)
    assert [len(cover.files) for cover in found] == list(range(fewest, fewest + len(found)))


def test_of_the_smallest_sets_the_better_one_is_chosen() -> None:
    """Two files cover all devices alike: the one with the higher scores is named, and the tiny one is not."""
    rows = {row_of([10.0, 30.0, None]): 5, row_of([10.0, 25.0, 50.0]): 3}
    found, _ = Coverage(rows, 3).sets(0.95, most=3)
    assert found[0].files == (1,)
    assert found[0].points_lost == pytest.approx(3 * 25 / 8)
    assert found[1].files == (1, 2)
    assert found[1].points_lost == 0.0
    assert len(found) == 2, "a third file gains nothing"


# --- the processes ----------------------------------------------------------------------------------------------


def upper(chunk: bytes) -> bytes:
    return chunk.upper()


def die(chunk: bytes) -> bytes:
    if chunk == b"7":
        os.kill(os.getpid(), signal.SIGKILL)
    return chunk


def test_chunks_are_answered_once_and_in_order_and_read_little_ahead() -> None:
    """Of an endless stream no more is read than keeps the processes busy."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        for number in itertools.count():
            read += 1
            yield f"chunk {number}".encode()

    answered = map_on_processes(upper, endless())
    assert [next(answered) for _ in range(50)] == [f"CHUNK {number}".encode() for number in range(50)]
    assert read <= 50 + 8 * (os.cpu_count() or 1)
    answered.close()  # type: ignore[attr-defined]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: there is no other process")
def test_a_process_that_is_killed_is_an_error_and_not_a_gap() -> None:
    """What was answered before it stays answered; nothing is passed over in silence."""
    answered: list[bytes] = []
    with pytest.raises(ClusterError, match="ended from outside"):
        answered.extend(map_on_processes(die, (str(number).encode() for number in range(20))))
    assert answered == [str(number).encode() for number in range(len(answered))]
    assert len(answered) <= 8


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: there is no other process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_of_a_fleet_do_not_outlive_it(number: signal.Signals, tmp_path: Path) -> None:
    """It is ended without a chance to say so to them: they see that it is gone, and go."""
    fleet = lines_in(tmp_path / "fleet.jsonl", *(["Pixel 9"] * 400_000))
    out = tmp_path / "out"
    command = [*PROGRAM, "recommend", "--devices", str(fleet), "--top", "1", "--json"]
    with out.open("wb") as stdout:
        process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: out.stat().st_size > 0 or process.poll() is not None, 30)
        process.send_signal(number)
        assert process.wait(30) == -number
        until(lambda: not group_lives(process.pid), 10)
    finally:
        if group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: there is no other process")
def test_ctrl_c_ends_a_fleet_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    """Exit code 130 within seconds in the middle of minutes of work, and none of its processes lives on."""
    sizes = (LAPTOP["memory"] | {"total_bytes": 16_000_000_000 + number} for number in range(20_000))  # type: ignore[operator]
    fleet = lines_in(tmp_path / "fleet.jsonl", *(LAPTOP | {"memory": memory} for memory in sizes))
    out = tmp_path / "out"
    command = [*PROGRAM, "recommend", "--devices", str(fleet), "--json"]
    with out.open("wb") as stdout:
        process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: out.stat().st_size > 0 or process.poll() is not None, 30)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    until(lambda: not group_lives(process.pid), 10)


def until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
