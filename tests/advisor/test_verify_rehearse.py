"""`verify --as`: a deployment run here under another device's limits, and what that may claim."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog import load_catalog
from advisor.cli.schema import schema_of
from advisor.evidence import GRADES, Value
from advisor.held_file import HeldFile
from advisor.identify import identify
from advisor.manifest import DeploymentManifest, Requirements
from advisor.target import make_target
from advisor.verify_estimate import estimate
from advisor.verify_here import Case, Outcome
from advisor.verify_rehearse import clamped, cores_of, rehearse, scaled
from profiles.limits import confine
from profiles.resolve import resolve_device
from tests.advisor.conftest import Call
from tests.advisor.test_verify import manifest_of, written

MB = 1_000_000
EASY = Requirements(max_memory_bytes=2_000 * MB, min_tg_tokens_per_s=0.01, max_ttft_s=1000.0)


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def board(memory: int, cores: int = 1, **more: Any) -> dict[str, Any]:
    """A Raspberry Pi whose control group leaves `memory` bytes to a model."""
    return {
        "name": "a board",
        "class": "sbc",
        "cpu": {"name": "BCM2712", "architecture": "aarch64", "cores": cores, "performance_cores": cores},
        "memory": {
            "total_bytes": max(memory * 2, 1 << 31),
            "limit_bytes": memory,
            "bandwidth_bytes_per_s": 17_100_000_000,
        },
        **more,
    }


def device_file(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "device.json"
    path.write_text(json.dumps(content))
    return path


def checks_of(out: str) -> dict[str, dict[str, Any]]:
    document = json.loads(out)
    jsonschema.validate(document, schema_of("verification"))
    return {check["id"]: check for check in document["checks"]}


def needs_group() -> None:
    with confine(memory_bytes=500 * MB, methods=("cgroup v2", "cgroup v1")) as limits:
        if limits.group is None:
            pytest.skip(f"no control group may be made here: {limits.memory_problem}")


# --- what is claimed ------------------------------------------------------------------------------------------

grades = st.sampled_from(GRADES)


@st.composite
def values(draw: st.DrawFn) -> Value:
    value = draw(st.floats(0.01, 1e4))
    return Value(value, value / draw(st.floats(1, 10)), value * draw(st.floats(1, 10)), draw(grades))


@given(values(), values(), values())
def test_a_scaled_speed_is_less_certain_than_what_it_is_made_of_and_never_measured(
    there: Value, measured: Value, here: Value
) -> None:
    """The target's estimate, corrected by what this machine is faster or slower than its own."""
    found = scaled(there, measured, here)
    assert found.value == pytest.approx(there.value * measured.value / here.value)
    for part in (there, measured):
        assert found.high / found.value >= part.high / part.value * (1 - 1e-9)
        assert found.value / found.low >= part.value / part.low * (1 - 1e-9)
    assert found.evidence in ("spec", "calibrated")
    assert GRADES.index(found.evidence) <= min(GRADES.index(there.evidence), GRADES.index(here.evidence))


def test_threads_are_no_more_than_the_device_has_cores() -> None:
    """Its usable ones; a device of which nobody knows leaves them as they are."""
    manifest = manifest_of(None)
    settings = msgspec.structs.replace(manifest.settings, threads=8, threads_batch=16)
    manifest = msgspec.structs.replace(manifest, settings=settings)
    small = clamped(manifest, resolve_device(board(100 * MB, cores=4))).settings
    assert (small.threads, small.threads_batch) == (4, 4)
    card = resolve_device("RTX 4090")
    assert cores_of(card) is None
    assert clamped(manifest, card) == manifest


def test_a_rehearsal_is_of_this_machine_and_runs(call: Call, tmp_path: Path) -> None:
    """--as beside --via or --no-run is a usage error, an unknown device bad input."""
    path = written(tmp_path, manifest_of(None))
    for other in (("--via", "sh -c"), ("--no-run",)):
        code, _, err = call("verify", path, "--as", "Raspberry Pi 5", *other)
        assert (code, f"leave {other[0]} out" in err) == (2, True)
    assert call("verify", path, "--as", "no such device")[0] == 2
    code, out, _ = call("verify", path, "--as", "Raspberry Pi 5", "--json")
    assert (code, checks_of(out)["run"]["status"], json.loads(out)["mode"]) == (4, "unknown", "estimate")


# --- the run --------------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_what_fits_passes_and_every_output_says_as_what_it_was_rehearsed(
    call: Call, smollm2: Path, tmp_path: Path
) -> None:
    """Exit code 0, with the limits that were in force and a speed that nobody calls measured."""
    needs_group()
    path, device = written(tmp_path, manifest_of(smollm2, EASY)), device_file(tmp_path, board(1_000 * MB))
    junit, sarif = tmp_path / "v.xml", tmp_path / "v.sarif"
    command = ("verify", path, "--file", smollm2, "--as", device, "--under-load")
    code, out, err = call(*command, "--json", "--junit", junit, "--sarif", sarif)
    found, document = checks_of(out), json.loads(out)
    assert code == 0, (found, err)
    assert document["mode"] == "rehearsal"
    assert document["measured"] is None
    acted = document["rehearsal"]
    assert acted["method"].startswith("cgroup")
    assert (acted["device"], acted["memory_limit_bytes"], acted["cores"]) == ("a board", 1_000 * MB, 1)
    assert acted["threads"] == acted["threads_batch"] == 1
    assert any("aarch64" in what for what in acted["not_rehearsed"])
    assert found["memory-limit"]["title"] == "Loads within 1.0 GB"
    assert 90 * MB < found["memory-limit"]["found"]["value"] < 500 * MB
    speed, here = document["scaled"]["tg_tokens_per_s"], acted["measured"]["tg_tokens_per_s"]
    assert (speed["evidence"], here["evidence"]) == ("spec", "measured")
    assert speed["high"] / speed["low"] > here["high"] / here["low"]
    assert found["token-generation"]["found"] == speed
    said = "as a board: under a memory limit of 1.0 GB"
    assert said in str(ElementTree.parse(junit).getroot().findtext(".//system-out"))
    (notes,) = [run["invocations"][0] for run in json.loads(sarif.read_text())["runs"]]
    assert any(said in each["message"]["text"] for each in notes["toolExecutionNotifications"])
    code, out, _ = call(*command)
    assert "rehearsed on this machine as a board" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.engine
def test_what_needs_more_than_the_target_has_is_killed_and_fails(
    call: Call, gemma3_270m: Path, tmp_path: Path
) -> None:
    """253 MB of weights in 150 MB: exit code 3, a message that says what happened, and no group left behind."""
    needs_group()
    path, device = written(tmp_path, manifest_of(gemma3_270m, EASY)), device_file(tmp_path, board(150 * MB))
    code, out, _ = call("verify", path, "--file", gemma3_270m, "--as", device, "--under-load", "--json")
    found = checks_of(out)
    assert code == 3
    assert (found["memory-limit"]["status"], found["run"]["status"]) == ("fail", "fail")
    assert "the kernel ended it" in found["memory-limit"]["message"]
    assert json.loads(out)["rehearsal"]["measured"] is None
    assert found["token-generation"]["status"] == "unknown"


@pytest.mark.engine
def test_limits_that_this_machine_cannot_impose_are_unknown_and_not_claimed(
    call: Call, smollm2: Path, tmp_path: Path
) -> None:
    """More memory and more cores than there are here: it runs, and exit code 4 says that this shows little."""
    path = written(tmp_path, manifest_of(smollm2, EASY))
    device = device_file(tmp_path, board(1 << 46, cores=4000))
    code, out, _ = call("verify", path, "--file", smollm2, "--as", device, "--under-load", "--json")
    found, acted = checks_of(out), json.loads(out)["rehearsal"]
    assert code == 4
    assert {name for name, check in found.items() if check["status"] == "unknown"} == {
        "memory-limit",
        "cores",
    }
    assert "this machine has" in found["memory-limit"]["message"]
    assert "4000 cores" in found["cores"]["message"]
    assert (acted["method"], acted["memory_limit_bytes"], acted["cores"]) == (None, None, None)


def on_gpu(manifest: DeploymentManifest, backend: str) -> DeploymentManifest:
    settings = msgspec.structs.replace(manifest.settings, offload_layers=31)
    return msgspec.structs.replace(manifest, backend=backend, settings=settings)


@pytest.mark.engine
def test_the_processor_stands_for_an_accelerator_only_where_they_share_their_memory(
    call: Call, smollm2: Path, tmp_path: Path
) -> None:
    """Unified memory: it runs here on the CPU and says so, the speed is the estimate. A card: nothing runs."""
    needs_group()
    path = written(tmp_path, on_gpu(manifest_of(smollm2, EASY), "vulkan"))
    card = {
        "name": "Mali-G715",
        "backend": "vulkan",
        "memory_bandwidth_bytes_per_s": 3e10,
        "fp16_flops": 2e12,
    }
    shared = board(1_000 * MB, accelerators=[{**card, "shared_memory": True}])
    command = ("verify", path, "--file", smollm2, "--under-load", "--json", "--as")
    code, out, err = call(*command, device_file(tmp_path, shared))
    found, document = checks_of(out), json.loads(out)
    assert found["memory-limit"]["status"] == found["run"]["status"] == "pass", (found, err)
    assert code == 0
    assert "not by vulkan" in found["run"]["message"]
    assert document["scaled"] is None
    assert found["token-generation"]["found"] == document["estimated"]["tg_tokens_per_s"]
    assert any("it ran on the CPU" in what for what in document["rehearsal"]["not_rehearsed"])
    own = board(1_000 * MB, accelerators=[{**card, "shared_memory": False, "memory_bytes": 8_000 * MB}])
    code, out, _ = call(*command, device_file(tmp_path, own))
    found, document = checks_of(out), json.loads(out)
    assert (code, found["run"]["status"], document["rehearsal"]) == (4, "unknown", None)
    assert "memory of its own" in found["run"]["message"]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("memory", "memory_limit", "run"),
    [(1_000 * MB, "pass", "pass"), (210 * MB, "unknown", "unknown"), (90 * MB, "fail", "fail")],
)
def test_without_control_groups_a_refusal_is_no_proof_and_weights_over_the_limit_are(
    smollm2: Path, memory: int, memory_limit: str, run: str
) -> None:
    """RLIMIT_DATA counts what is reserved: 97 MB of weights in 90 MB fail, what it might not have used is unknown."""
    manifest = manifest_of(smollm2, EASY)
    target = make_target(resolve_device(board(memory)), manifest.workload, strict=False)
    here = make_target(resolve_device(None), manifest.workload, strict=False)
    with ExitStack() as stack:
        file = identify(smollm2, load_catalog())
        case = Case(
            manifest=manifest,
            held=stack.enter_context(HeldFile(smollm2)),
            file=file,
            estimated=estimate(manifest, file, target),
            target=target,
            strict=False,
            progress=lambda _: None,
        )
        outcome: Outcome = rehearse(case, here, ("RLIMIT_DATA",))
    found = {check.id: check.status for check in outcome.checks}
    assert (found["memory-limit"], found["run"]) == (memory_limit, run)
    assert outcome.rehearsal is not None
    assert outcome.rehearsal.method == "RLIMIT_DATA"


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_rehearsal_leaves_neither_process_nor_group(
    smollm2: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C, or a request to end, while the engine works."""
    needs_group()
    path, device = written(tmp_path, manifest_of(smollm2, EASY)), device_file(tmp_path, board(1_000 * MB))
    words = ["verify", str(path), "--file", str(smollm2), "--as", str(device), "--under-load"]
    main = "import sys; from advisor.cli.main import main; main()"
    process = subprocess.Popen([sys.executable, "-c", main, *words], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "loading and timing" in line:
                break
        with confine(memory_bytes=500 * MB) as limits:
            assert limits.group is not None
            group = Path(limits.group).with_name(f"slm-advisor-{process.pid}")
        assert group.exists()
        (worker,) = (group / "cgroup.procs").read_text().split()
        process.send_signal(number)
        assert process.wait(20) == (130 if number == signal.SIGINT else 128 + number)
    finally:
        process.kill()
        process.communicate()
    until = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(f"/proc/{worker}").exists()
    assert not group.exists()
