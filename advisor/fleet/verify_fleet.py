"""`verify` for a fleet: a pinned deployment held against every device, by estimate, since none of them is here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial

import msgspec

from advisor.fleet.devices import Answer, answers, chunks, device_of
from advisor.fleet.recommend_fleet import MapChunks
from advisor.identify import ModelFile
from advisor.manifest import DeploymentManifest
from advisor.target import make_target
from advisor.verify import Verification, VerifyPlan, believe, file_path, manifest_path
from advisor.verify_checks import Check, Status, fidelity_checks, license_checks, speed_checks, verdict
from advisor.verify_estimate import budget_check, estimate, memory_checks, workload_of
from advisor.verify_file import check_file, is_pinned_file
from advisor.verify_policy import policy_checks


class FleetVerdict(Answer, frozen=True, kw_only=True):
    """The answer for a device: its verdict, those checks in it that are the same for every device included."""

    verdict: Status | None = None
    checks: tuple[Check, ...] = ()


class FleetVerification(msgspec.Struct, frozen=True, kw_only=True):
    """How many devices the deployment holds on, by estimate; `checks` are of what is the same for all of them.

    `by_check` counts the devices that fail a check, or of which it is unknown. `deployment` is null for a manifest
    that is not believed.
    """

    manifest: str
    deployment: str | None
    verdict: Status
    exit_code: int
    devices: int = 0
    passed: int = 0
    failed: int = 0
    unknown: int = 0
    bad_lines: int = 0  # lines that are no device
    checks: tuple[Check, ...] = ()
    by_check: dict[str, dict[Status, int]] = {}
    notes: tuple[str, ...] = ()


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """What is held against each device: the manifest, the file's own dimensions, and the verdict on what all share."""

    manifest: DeploymentManifest
    file: ModelFile | None
    shared: Status


def verify_fleet(
    plan: VerifyPlan,
    lines: Callable[[], Iterable[bytes]],
    map_chunks: MapChunks,
    answered: Callable[[FleetVerdict], None],
    progress: Callable[[str, int], None],
) -> FleetVerification:
    """Hold a manifest against every device of `lines`; `answered` is told each answer, in their order.

    Raises InvalidManifestError for a manifest that cannot be read or was changed, InvalidInputError for a key that
    is none, ComponentMissingError.
    """
    believed = believe(plan)
    if isinstance(believed, Verification):
        return FleetVerification(
            manifest=believed.manifest,
            deployment=None,
            verdict="fail",
            exit_code=3,
            checks=believed.checks,
            notes=believed.notes,
        )
    manifest, checks = believed
    file, notes = _shared_checks(plan, manifest, checks)
    shared = verdict(tuple(checks)) if checks else "pass"
    counts: Counter[Status] = Counter()
    by_check: dict[str, Counter[Status]] = {}
    bad = 0
    work = partial(verify_chunk, Pinned(manifest=manifest, file=file, shared=shared))
    for block in map_chunks(work, chunks(lines())):
        for answer in msgspec.msgpack.decode(block, type=tuple[FleetVerdict, ...]):
            answered(answer)
            if answer.verdict is None:
                bad += 1
                continue
            counts[answer.verdict] += 1
            for check in answer.checks:
                by_check.setdefault(check.id, Counter())[check.status] += 1
        progress("devices verified", counts.total() + bad)
    worst: Status = "fail" if counts["fail"] or bad or shared == "fail" else "pass"
    if worst == "pass" and (counts["unknown"] or not counts or shared == "unknown"):
        worst = "unknown"
    return FleetVerification(
        manifest=str(manifest_path(plan)),
        deployment=manifest.label,
        verdict=worst,
        exit_code={"pass": 0, "unknown": 4, "fail": 3}[worst],
        devices=counts.total(),
        passed=counts["pass"],
        failed=counts["fail"],
        unknown=counts["unknown"],
        bad_lines=bad,
        checks=tuple(checks),
        by_check={name: dict(found) for name, found in by_check.items()},
        notes=("nothing was run: memory and speed are estimates", *notes),
    )


def verify_chunk(pinned: Pinned, chunk: bytes) -> bytes:
    """The answers to the lines of a chunk: msgpack of `tuple[FleetVerdict, ...]`. Nothing is raised for a bad line."""
    return msgspec.msgpack.encode(answers(chunk, FleetVerdict, partial(_answer, pinned)))


def _answer(pinned: Pinned, device: bytes) -> FleetVerdict:
    found, manifest = device_of(device), pinned.manifest
    target = make_target(found, workload_of(manifest), strict=False)
    estimated = estimate(manifest, pinned.file, target)
    why = estimated.problem or "it was not estimated"
    checks = memory_checks(estimated, target, None)
    checks += speed_checks(manifest.requires, None if estimated.problem else estimated.speeds, why)
    if manifest.requires.max_memory_bytes is not None:
        checks.append(budget_check(manifest, None, estimated))
    own = verdict(tuple(checks))
    both: tuple[Status, Status] = (own, pinned.shared)
    return FleetVerdict(
        device=found.name,
        verdict="fail" if "fail" in both else "unknown" if "unknown" in both else "pass",
        checks=tuple(checks),
    )


def _shared_checks(
    plan: VerifyPlan, manifest: DeploymentManifest, checks: list[Check]
) -> tuple[ModelFile | None, tuple[str, ...]]:
    """Add what is the same for every device: the file, its fidelity, licence and policy; the file's own dimensions."""
    with ExitStack() as stack:
        _, file = check_file(file_path(plan, manifest), manifest, checks, stack, lambda _: None)
    checks += fidelity_checks(manifest, same_file=is_pinned_file(manifest, checks))
    checks += license_checks(manifest)
    if plan.policy is None:
        return file, ()
    allowed, notes = policy_checks(plan.policy, manifest, checks)
    checks += allowed
    return file, notes
