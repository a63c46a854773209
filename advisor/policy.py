"""A policy: what an organization allows to be deployed, and its exceptions, each with a date on which it ends.

`advisor.policy_file` reads one, `advisor.ruling` holds a catalog against it, and `violations` holds one deployment
against it, wherever its facts come from: the catalog, or the manifest of a deployment that is to be verified. What is
not known breaks the rule that asks for it.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, get_args

import msgspec

from advisor.catalog import family_matches
from advisor.licenses import allows_license
from advisor.names import canonical
from profiles.text import amount
from quantize.errors import QuantizeError
from quantize.types import parse_preset

Rule = Literal[
    "licenses",
    "families",
    "quantizations",
    "min_parameters",
    "max_parameters",
    "max_file_bytes",
    "max_perplexity_increase",
    "offline_only",
]

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
Parameters = Annotated[int, msgspec.Meta(ge=1, le=10**13)]


class PolicyException(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model, or one quantization of it, may break one rule up to and including the day `until`."""

    model: Text
    """Name or id, "Qwen3-8B" or "Qwen/Qwen3-8B"; with ":Q8_0" only that quantization."""
    rule: Rule
    until: datetime.date
    reason: Text
    approved_by: Text

    def days_left(self, today: datetime.date) -> int:
        """0 on the last day, negative once it has expired."""
        return (self.until - today).days

    def covers(self, facts: Facts) -> bool:
        """Whether it is about the deployment; the day does not matter."""
        names = {canonical(facts.model), canonical(facts.name)}
        if canonical(self.model) in names:
            return True
        head, colon, tail = self.model.rpartition(":")
        return bool(colon) and canonical(head) in names and _preset(tail) == _preset(facts.quant)


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is allowed. A rule that is not set allows everything."""

    version: Literal[1]
    licenses: Texts | None = None
    """Licences by name, or the classes `permissive` (any use) and `commercial` (also under conditions)."""
    families: Texts | None = None
    """As --family takes them: "qwen" is every Qwen, "Qwen3" not Qwen3.5."""
    quantizations: Texts | None = None
    min_parameters: Parameters | None = None
    max_parameters: Parameters | None = None
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 60)] | None = None
    max_perplexity_increase: Annotated[float, msgspec.Meta(ge=0, le=10)] | None = None
    """Share by which quantization may raise the perplexity: 0.03 is 3%. For an estimate its high end counts."""
    offline_only: bool = False
    """Only weights that lie on this machine already, so that nothing has to be fetched."""
    weight_folders: Texts | None = None
    """Where `offline_only` looks, relative to the policy file; without them where programs keep models."""
    exceptions: tuple[PolicyException, ...] = ()

    def expired(self, today: datetime.date) -> tuple[PolicyException, ...]:
        """The exceptions that no longer hold."""
        return tuple(each for each in self.exceptions if each.days_left(today) < 0)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy asks of one deployment; None is not known."""

    model: str  # id
    name: str
    family: str
    license: str | None
    license_class: str | None
    parameters: int
    quant: str
    file_bytes: int | None
    perplexity_increase: float | None  # share, as measured, or the high end of an estimate
    local: bool | None  # its weights are at hand without a network


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that a deployment breaks, and the exception made for it, which may have expired.

    `known` is false where the rule is broken only because nobody knows what it asks for.
    """

    rule: Rule
    allowed: str
    found: str
    message: str
    known: bool = True
    exception: PolicyException | None = None
    days_left: int | None = None  # of the exception; negative once it has expired

    @property
    def excused(self) -> bool:
        """An exception is in force: the deployment may be used, and the exception is worth a line in a report."""
        return self.days_left is not None and self.days_left >= 0


def violations(policy: Policy, facts: Facts, today: datetime.date) -> tuple[Violation, ...]:
    """The rules that a deployment breaks, in the order of `Rule`; those with `excused` do not rule it out. Pure."""
    found = []
    for rule, allowed, has, broken in _checks(policy, facts):
        if not broken:
            continue
        known = rule not in _ASKS_FOR or getattr(facts, _ASKS_FOR[rule]) is not None
        made = [each for each in policy.exceptions if each.rule == rule and each.covers(facts)]
        exception = max(made, key=lambda each: each.until, default=None)
        left = None if exception is None else exception.days_left(today)
        message = f"rule {rule} of the policy allows {allowed}, and it has {has}"
        if exception is not None and left is not None and left < 0:
            message += f" (its exception expired on {exception.until})"
        found.append(
            Violation(
                rule=rule,
                allowed=allowed,
                found=has,
                message=message,
                known=known,
                exception=exception,
                days_left=left,
            )
        )
    return tuple(found)


def rules_of(policy: Policy) -> tuple[Rule, ...]:
    """The rules that are set, in the order of `Rule`."""
    unset = (None, False)  # by identity: a limit of 0 is one
    return tuple(rule for rule in get_args(Rule) if all(getattr(policy, rule) is not none for none in unset))


def exception_text(exception: PolicyException, today: datetime.date) -> str:
    """One line for people: for what the exception is, and how long it holds or since when it does not."""
    left = exception.days_left(today)
    if left < 0:
        when = f"expired on {exception.until}"
    else:
        when = f"until {exception.until}, {left} {'day' if left == 1 else 'days'} left"
    return (
        f"policy exception for {exception.model} from rule {exception.rule}, {when}: "
        f"{exception.reason} ({exception.approved_by})"
    )


_UNKNOWN = "one that is not known"
_ASKS_FOR: dict[Rule, str] = {
    "licenses": "license",
    "max_file_bytes": "file_bytes",
    "max_perplexity_increase": "perplexity_increase",
    "offline_only": "local",
}
"""Rule -> the field of `Facts` that it asks for, where that may be unknown."""


def _checks(policy: Policy, facts: Facts) -> list[tuple[Rule, str, str, bool]]:
    """(rule, what it allows, what there is, whether that breaks it) for every rule that is set."""
    checks: list[tuple[Rule, str, str, bool]] = []
    if policy.licenses is not None:
        allowed = allows_license(facts.license, facts.license_class, policy.licenses)
        named = facts.license or _UNKNOWN
        checks.append(("licenses", f"licence {' or '.join(policy.licenses)}", named, not allowed))
    if policy.families is not None:
        allowed = family_matches(facts.family, policy.families)
        checks.append(("families", f"family {' or '.join(policy.families)}", facts.family, not allowed))
    if policy.quantizations is not None:
        allowed = _preset(facts.quant) in {_preset(name) for name in policy.quantizations}
        checks.append(("quantizations", " or ".join(policy.quantizations), facts.quant, not allowed))
    size = f"{facts.parameters:,} parameters"
    if policy.min_parameters is not None:
        small = facts.parameters < policy.min_parameters
        checks.append(("min_parameters", f"{policy.min_parameters:,} parameters and more", size, small))
    if policy.max_parameters is not None:
        large = facts.parameters > policy.max_parameters
        checks.append(("max_parameters", f"{policy.max_parameters:,} parameters at most", size, large))
    if policy.max_file_bytes is not None:
        has = facts.file_bytes
        file = "a file of a size that is not known" if has is None else f"a file of {amount(has)}"
        most = f"files of {amount(policy.max_file_bytes)} at most"
        checks.append(("max_file_bytes", most, file, has is None or has > policy.max_file_bytes))
    if policy.max_perplexity_increase is not None:
        lost, most_lost = facts.perplexity_increase, policy.max_perplexity_increase
        loss = _UNKNOWN if lost is None else f"one of up to {lost:.2%}"
        broken = lost is None or not lost <= most_lost
        checks.append(("max_perplexity_increase", f"a perplexity increase of {most_lost:.2%}", loss, broken))
    if policy.offline_only:
        where = {True: "weights on this machine", False: "weights that would have to be fetched"}
        there = "weights of which nobody knows where they are" if facts.local is None else where[facts.local]
        checks.append(("offline_only", "weights on this machine", there, facts.local is not True))
    return checks


def _preset(text: str) -> str:
    """The preset that a spelling means; a text that is none stands for itself."""
    try:
        return parse_preset(text)
    except QuantizeError:
        return text.upper()
