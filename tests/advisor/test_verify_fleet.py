"""`verify --devices`: a pinned deployment held against a fleet says of each device what `verify` would estimate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from advisor.manifest import DeploymentManifest, Requirements, encode_manifest
from tests.advisor.conftest import LAPTOP, Call
from tests.advisor.manifests import pinned
from tests.advisor.test_fleet import answers_of, lines_in

SMALL = {
    **LAPTOP,
    "name": "small",
    "memory": {"total_bytes": 1 << 30, "bandwidth_bytes_per_s": 20_000_000_000},
}
SLOW = {
    **LAPTOP,
    "name": "slow",
    "memory": {"total_bytes": 17_179_869_184, "bandwidth_bytes_per_s": 2_000_000_000},
    "accelerators": [
        {"name": "Radeon 780M", "shared_memory": True, "memory_bandwidth_bytes_per_s": 2_000_000_000}
    ],
}


def manifest_of(tmp_path: Path, **changes: Any) -> tuple[Path, DeploymentManifest]:
    """A manifest without a file, which none of a fleet needs: only memory and speed are required."""
    requires = Requirements(min_tg_tokens_per_s=6.0)
    manifest = pinned(file=None, fidelity=None, requires=requires, **changes)
    path = tmp_path / "deployment.json"
    path.write_bytes(encode_manifest(manifest))
    return path, manifest


def test_each_device_is_judged_as_verify_judges_it(call: Call, tmp_path: Path) -> None:
    """A roomy laptop is not failed, one without memory and one that is too slow are; the summary counts them."""
    manifest, _ = manifest_of(tmp_path)
    fleet = lines_in(tmp_path / "fleet.jsonl", {"id": 1, "device": LAPTOP}, SMALL, SLOW, "no such device")
    code, out, _ = call("verify", manifest, "--devices", fleet, "--json")
    devices, summary = answers_of(out)
    assert code == 3 == summary["exit_code"]
    found = {each["device"]: {check["id"]: check["status"] for check in each["checks"]} for each in devices}
    assert set(found["a plain laptop"].values()) == {"pass"}
    assert found["small"]["memory"] == "fail"
    assert found["slow"]["memory"] == "pass"
    assert found["slow"]["token-generation"] == "fail"
    assert devices[3]["error"]
    assert [each["verdict"] for each in devices] == ["unknown", "fail", "fail", None]
    counts = [summary[name] for name in ("devices", "passed", "failed", "unknown", "bad_lines")]
    assert counts == [3, 0, 2, 1, 1]
    assert summary["by_check"]["token-generation"]["fail"] == 1
    assert summary["checks"][0]["id"] == "file", "what no device decides is said once"


def test_the_numbers_are_those_of_verify_without_a_run(call: Call, tmp_path: Path) -> None:
    """The same manifest on a device of the library, by `verify --devices` and by the estimate itself."""
    from advisor.target import make_target
    from advisor.verify_estimate import estimate
    from profiles.library import find

    path, manifest = manifest_of(tmp_path)
    fleet = lines_in(tmp_path / "fleet.jsonl", "Raspberry Pi 5 8GB")
    _, out, _ = call("verify", path, "--devices", fleet, "--json")
    target = make_target(find("Raspberry Pi 5 8GB"), manifest.workload, strict=False)
    speed = estimate(manifest, None, target).speeds.tg_tokens_per_s
    checks = {check["id"]: check for check in answers_of(out)[0][0]["checks"]}
    assert checks["token-generation"]["found"] == msgspec.to_builtins(speed)


def test_a_policy_and_a_licence_are_judged_once_for_all(call: Call, tmp_path: Path) -> None:
    """What the policy forbids holds on no device."""
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nfamilies = ["qwen"]\n')
    manifest, _ = manifest_of(tmp_path)
    fleet = lines_in(tmp_path / "fleet.jsonl", LAPTOP, "Apple M2 Pro")
    code, out, _ = call("verify", manifest, "--devices", fleet, "--policy", policy)
    assert code == 3
    assert "fails on 2" in out
    assert "Policy: family" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_a_changed_manifest_is_refused_before_any_device(call: Call, tmp_path: Path) -> None:
    """One byte changed: exit code 2, and nothing on stdout but the error."""
    manifest, _ = manifest_of(tmp_path)
    manifest.write_bytes(manifest.read_bytes().replace(b'"Q4_K_M"', b'"Q4_K_S"', 1))
    fleet = lines_in(tmp_path / "fleet.jsonl", LAPTOP)
    code, out, _ = call("verify", manifest, "--devices", fleet, "--json")
    assert code == 2
    assert "was changed" in json.loads(out)["error"]["message"]


@pytest.mark.parametrize("other", [("--via", "sh -c"), ("--as", "Pixel 9"), ("--junit", "x.xml")])
def test_what_is_about_one_target_is_refused_beside_a_fleet(
    other: tuple[str, str], call: Call, tmp_path: Path
) -> None:
    manifest, _ = manifest_of(tmp_path)
    fleet = lines_in(tmp_path / "fleet.jsonl", LAPTOP)
    code, _, err = call("verify", manifest, "--devices", fleet, *other)
    assert code == 2
    assert other[0] in err
