"""`verify --policy`: a pinned deployment held against what an organization allows. Pure.

Each rule of the policy is one check. What the manifest cannot tell is unknown, never a pass.
"""

from __future__ import annotations

import datetime

import msgspec

from advisor.catalog import load_catalog
from advisor.errors import AdvisorError
from advisor.gate import Limits, judge
from advisor.manifest import DeploymentManifest
from advisor.policy import Facts, Policy, PolicyException, Rule, exception_text, rules_of, violations
from advisor.ruling import facts_of
from advisor.verify_checks import Check, verdict
from quantize.errors import QuantizeError
from quantize.types import TENSOR_TYPES, parse_preset

# Rule -> what a report calls it, and the field of the manifest that is held against it.
_RULES: dict[Rule, tuple[str, str]] = {
    "licenses": ("Policy: licence", "license"),
    "families": ("Policy: family", "family"),
    "quantizations": ("Policy: quantization", "variant"),
    "min_parameters": ("Policy: least parameters", "parameters"),
    "max_parameters": ("Policy: most parameters", "parameters"),
    "max_file_bytes": ("Policy: file size", "bytes"),
    "max_perplexity_increase": ("Policy: perplexity", "perplexity_increase"),
    "offline_only": ("Policy: offline", "file"),
}


class PolicyOfTheDay(msgspec.Struct, frozen=True):
    """A policy, and the day on which its exceptions are judged."""

    policy: Policy
    today: datetime.date


def policy_checks(
    held: PolicyOfTheDay, manifest: DeploymentManifest, file_checks: list[Check]
) -> tuple[list[Check], tuple[str, ...]]:
    """A check for each rule that is set; and notes on the exceptions, those in use and those that have expired.

    `file_checks` say whether the pinned file is at hand on the target: those with the ids `file` and `sha256`.
    """
    policy, today = held.policy, held.today
    at_hand = verdict(tuple(check for check in file_checks if check.id in ("file", "sha256")))
    facts = facts_in(manifest, local={"pass": True, "fail": False, "unknown": None}[at_hand])
    broken = {each.rule: each for each in violations(policy, facts, today)}
    checks: list[Check] = []
    used: list[PolicyException] = []
    for rule in rules_of(policy):
        title, field = _RULES[rule]
        check = Check(id=f"policy.{rule}", title=title, status="pass", requirement=field)
        violation = broken.get(rule)
        if violation is not None:
            check = msgspec.structs.replace(check, required=violation.allowed, found=violation.found)
            if violation.excused and violation.exception is not None:
                used.append(violation.exception)
            else:
                status = "fail" if violation.known else "unknown"
                check = msgspec.structs.replace(check, status=status, message=violation.message)
        checks.append(check)
    noted = dict.fromkeys((*used, *policy.expired(today)))
    return checks, tuple(exception_text(each, today) for each in noted)


def facts_in(manifest: DeploymentManifest, *, local: bool | None) -> Facts:
    """What a manifest says of its deployment; `local` says whether the file is on the target.

    What was measured of the file counts at the high end of its interval, as an estimate does, which is made from the
    pinned tensors where the catalog knows the model.
    """
    model = manifest.model
    listed = _in_catalog(manifest)
    size = sum(manifest.bytes_by_type.values()) or None
    if manifest.file is not None:
        size = manifest.file.bytes
    elif listed is not None and listed.file_bytes is not None:
        size = max(size or 0, listed.file_bytes)  # the tensors alone leave out header and tokenizer
    increase = None if listed is None else listed.perplexity_increase
    if manifest.fidelity is not None:
        (measured,) = judge(manifest.fidelity, Limits(max_ppl_increase=0.0))
        increase = measured.measured + measured.margin
    return Facts(
        model=model.id,
        name=model.name,
        family=model.family,
        license=model.license,
        license_class=model.license_class,
        parameters=model.parameters,
        quant=manifest.variant,
        file_bytes=size,
        perplexity_increase=increase,
        local=local,
    )


def _in_catalog(manifest: DeploymentManifest) -> Facts | None:
    """The catalog's facts of this very model and variant, its loss that of the pinned tensors; None without them."""
    try:
        model = load_catalog().find(manifest.model.id)
        variant = model.variant(parse_preset(manifest.variant))
    except (AdvisorError, QuantizeError):
        return None
    if model.id != manifest.model.id or not manifest.bytes_by_type.keys() <= TENSOR_TYPES.keys():
        return None
    if manifest.bytes_by_type:
        variant = msgspec.structs.replace(variant, bytes_by_type=manifest.bytes_by_type)
    return facts_of(model, variant, None)
