"""The judgement of `verify`: each requirement held against what was found. Pure.

Every number has an 80% interval, and one rule holds for all: a limit is kept where the whole interval is on its good
side, and broken where the whole interval is on the other; then nine times of ten the verdict is right. Where the limit
lies inside the interval it is too close to call, and the verdict is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from advisor.evidence import Value
from advisor.gate import Verdict, judge
from advisor.licenses import allows_license
from advisor.manifest import DeploymentManifest, Requirements, Speeds
from profiles.text import amount, rate

Status = Literal["pass", "fail", "unknown"]
Unit = Literal["bytes", "tokens/s", "s", "nats", "share"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must hold. `margin` is how far on the good side the value is, as a share of the limit.

    `requirement` is the field of the manifest that asks for it, or that a policy is held against.
    """

    id: str
    title: str
    status: Status
    message: str = ""
    relation: Literal["at least", "at most"] | None = None
    required: float | str | None = None
    found: Value | str | None = None
    unit: Unit | None = None
    margin: float | None = None
    requirement: str | None = None


def verdict(checks: tuple[Check, ...]) -> Status:
    """fail where one fails, else unknown where one is unknown."""
    found = {check.status for check in checks}
    return "fail" if "fail" in found else "unknown" if "unknown" in found or not found else "pass"


def limit(
    id_: str,
    title: str,
    relation: Literal["at least", "at most"],
    required: float,
    found: Value | None,
    unit: Unit,
    *,
    requirement: str | None = None,
    missing: str = "it was neither measured nor estimated",
) -> Check:
    """A limit held against a value, by the rule of this module; `missing` says why there is no value."""
    check = Check(
        id=id_,
        title=title,
        status="unknown",
        message=missing,
        relation=relation,
        required=float(required),
        unit=unit,
        requirement=requirement,
    )
    if found is None:
        return check
    good, bad = (
        (found.low >= required, found.high < required)
        if relation == "at least"
        else (found.high <= required, found.low > required)
    )
    share = found.value / required - 1 if required else None
    if share is not None and relation == "at most":
        share = -share
    message = "" if good else "missed" if bad else "too close to call: the limit lies inside the interval"
    status: Status = "pass" if good else "fail" if bad else "unknown"
    return msgspec.structs.replace(check, status=status, message=message, found=found, margin=share)


def speed_checks(requires: Requirements, speeds: Speeds | None, missing: str) -> Iterator[Check]:
    """The floors for speed and first token."""
    speeds = speeds or Speeds()
    if requires.min_pp_tokens_per_s is not None:
        yield limit(
            "prompt-processing",
            "Prompt processing",
            "at least",
            requires.min_pp_tokens_per_s,
            speeds.pp_tokens_per_s,
            "tokens/s",
            requirement="min_pp_tokens_per_s",
            missing=missing,
        )
    if requires.min_tg_tokens_per_s is not None:
        yield limit(
            "token-generation",
            "Token generation",
            "at least",
            requires.min_tg_tokens_per_s,
            speeds.tg_tokens_per_s,
            "tokens/s",
            requirement="min_tg_tokens_per_s",
            missing=missing,
        )
    if requires.max_ttft_s is not None:
        yield limit(
            "first-token",
            "First token",
            "at most",
            requires.max_ttft_s,
            speeds.ttft_s,
            "s",
            requirement="max_ttft_s",
            missing=missing,
        )


_FIDELITY: dict[str, tuple[str, str, Unit]] = {
    "max_kld": ("kl-divergence", "KL divergence", "nats"),
    "max_ppl_increase": ("perplexity-increase", "Perplexity increase", "share"),
    "min_same_top": ("same-top", "Same top token", "share"),
}


def fidelity_checks(manifest: DeploymentManifest, *, same_file: bool) -> Iterator[Check]:
    """The limits on fidelity against what the manifest says was measured, which is of the pinned file only."""
    limits = manifest.requires.fidelity
    verdicts: dict[str, Verdict] = (
        {} if manifest.fidelity is None else {one.limit: one for one in judge(manifest.fidelity, limits)}
    )
    for field, (id_, title, unit) in _FIDELITY.items():
        bound = getattr(limits, field)
        if bound is None:
            continue
        one = verdicts.get(field)
        value = None
        if one is not None and same_file:
            value = Value(one.measured, one.measured - one.margin, one.measured + one.margin, "measured")
        yield limit(
            id_,
            title,
            "at least" if field == "min_same_top" else "at most",
            bound,
            value,
            unit,
            requirement=field,
            missing="the manifest holds no fidelity: build with it, and pin again"
            if one is None
            else "it was measured of the pinned file, and this is not known to be that",
        )


def license_checks(manifest: DeploymentManifest) -> Iterator[Check]:
    """The licence rule of the manifest against the licence in it."""
    wanted, model = manifest.requires.licenses, manifest.model
    if not wanted:
        return
    allowed = allows_license(model.license, model.license_class, wanted)
    yield Check(
        id="license",
        title="Licence",
        status="unknown" if model.license is None else "pass" if allowed else "fail",
        message="the licence of the model is not known"
        if model.license is None
        else ""
        if allowed
        else "the licence is none of those allowed",
        required=" or ".join(wanted),
        found=model.license,
        requirement="licenses",
    )


def shown(number: float, unit: Unit | None) -> str:
    """A number of a check as people read it."""
    if unit == "bytes":
        return amount(number)
    if unit == "tokens/s":
        return rate(number)
    if unit == "s":
        return f"{number:.3g} s"
    return f"{number:.2%}" if unit == "share" else f"{number:.3g}"
