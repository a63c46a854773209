"""A policy: what breaks a rule is said, what is not known breaks it too, and exceptions end on their day."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.errors import InvalidInputError
from advisor.policy import Facts, Policy, PolicyException, exception_text, violations
from advisor.policy_file import load_policy

TODAY = datetime.date(2026, 11, 24)
DAY = datetime.timedelta(days=1)
FACTS = Facts(
    model="Qwen/Qwen3-8B",
    name="Qwen3-8B",
    family="Qwen3",
    license="apache-2.0",
    license_class="permissive",
    parameters=8_000_000_000,
    quant="Q4_K_M",
    file_bytes=5_000_000_000,
    perplexity_increase=0.02,
    local=False,
)
# rule -> a value that FACTS keep, one that they break
RULES: dict[str, tuple[Any, Any]] = {
    "licenses": (("commercial",), ("mit",)),
    "families": (("qwen",), ("Gemma 3",)),
    "quantizations": (("q4-k-m",), ("Q8_0",)),
    "min_parameters": (8_000_000_000, 8_000_000_001),
    "max_parameters": (8_000_000_000, 7_999_999_999),
    "max_file_bytes": (5_000_000_000, 4_999_999_999),
    "max_perplexity_increase": (0.02, 0.0199),
    "offline_only": (False, True),
}


def policy_of(exceptions: tuple[PolicyException, ...] = (), **rules: Any) -> Policy:
    return Policy(version=1, exceptions=exceptions, **rules)


def exception(rule: str, until: datetime.date, model: str = "Qwen3-8B") -> PolicyException:
    fields = {"model": model, "rule": rule, "until": until, "reason": "a trial", "approved_by": "Kim"}
    return msgspec.convert(fields, PolicyException)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_holds_at_its_limit_and_is_broken_past_it(rule: str) -> None:
    """The value itself is allowed; beyond it there is one violation, which names the rule, both sides of it."""
    kept, broken = RULES[rule]
    assert violations(policy_of(**{rule: kept}), FACTS, TODAY) == ()
    (violation,) = violations(policy_of(**{rule: broken}), FACTS, TODAY)
    assert violation.rule == rule
    assert not violation.excused
    assert all(text in violation.message for text in (rule, violation.allowed, violation.found))


@pytest.mark.parametrize(
    ("rule", "unknown"),
    [
        ("licenses", {"license": None, "license_class": None}),
        ("max_file_bytes", {"file_bytes": None}),
        ("max_perplexity_increase", {"perplexity_increase": None}),
        ("max_perplexity_increase", {"perplexity_increase": float("nan")}),
        ("offline_only", {"local": None}),
    ],
)
def test_what_is_not_known_breaks_the_rule_that_asks_for_it(rule: str, unknown: dict[str, Any]) -> None:
    """Nobody is let in for want of a fact."""
    values = {"licenses": ("commercial",), "max_file_bytes": 10**12, "max_perplexity_increase": 1.0}
    policy = policy_of(**{rule: values.get(rule, True)})
    (violation,) = violations(policy, msgspec.structs.replace(FACTS, **unknown), TODAY)
    assert violation.rule == rule


def test_without_rules_everything_is_allowed() -> None:
    """A policy that sets nothing forbids nothing."""
    assert violations(policy_of(), FACTS, TODAY) == ()


@pytest.mark.parametrize(
    ("until", "left", "excused"), [(TODAY, 0, True), (TODAY + DAY, 1, True), (TODAY - DAY, -1, False)]
)
def test_an_exception_holds_to_the_end_of_its_day(until: datetime.date, left: int, excused: bool) -> None:
    """It excuses on the last day, and the day after it is said to have expired."""
    made = exception("licenses", until)
    (violation,) = violations(policy_of((made,), licenses=("mit",)), FACTS, TODAY)
    assert (violation.exception, violation.days_left, violation.excused) == (made, left, excused)
    assert ("expired on" in violation.message) is not excused
    assert ("expired on" in exception_text(made, TODAY)) is not excused


@pytest.mark.parametrize(
    ("model", "covered"),
    [
        ("Qwen/Qwen3-8B", True),
        ("qwen3-8b", True),
        ("Qwen3-8B:q4_k_m", True),
        ("Qwen3-8B:Q8_0", False),
        ("Qwen3-4B", False),
        ("Qwen3", False),
    ],
)
def test_an_exception_is_for_its_model_and_its_rule_only(model: str, covered: bool) -> None:
    """A sibling, another quantization or another rule stays ruled out."""
    made = exception("licenses", TODAY, model)
    licence, file = violations(policy_of((made,), licenses=("mit",), max_file_bytes=1), FACTS, TODAY)
    assert licence.excused is covered
    assert not file.excused


def test_the_exception_that_holds_longest_counts() -> None:
    """A renewed exception may stand below the one that has expired, or above it."""
    old, new = exception("licenses", TODAY - DAY), exception("licenses", TODAY + DAY)
    for made in ((old, new), (new, old)):
        (violation,) = violations(policy_of(made, licenses=("mit",)), FACTS, TODAY)
        assert violation.exception == new


@given(parameters=st.integers(1, 10**13), limit=st.integers(1, 10**13), stricter=st.integers(0, 10**13))
def test_a_stricter_limit_never_lets_more_in(parameters: int, limit: int, stricter: int) -> None:
    """What a limit forbids, every lower limit forbids."""
    facts = msgspec.structs.replace(FACTS, parameters=parameters)
    lower = max(1, limit - stricter)
    if violations(policy_of(max_parameters=limit), facts, TODAY):
        assert violations(policy_of(max_parameters=lower), facts, TODAY)


def test_a_file_is_read_with_its_exceptions_and_folders(tmp_path: Path) -> None:
    """Folders are relative to the file, dates are dates."""
    file = tmp_path / "policy.toml"
    file.write_text(
        'version = 1\nlicenses = ["commercial"]\noffline_only = true\nweight_folders = ["models"]\n'
        '[[exceptions]]\nmodel = "Qwen3-8B"\nrule = "licenses"\nuntil = 2026-12-31\n'
        'reason = "a trial"\napproved_by = "Kim"\n'
    )
    policy = load_policy(file)
    assert policy.weight_folders == (str(tmp_path / "models"),)
    assert policy.exceptions == (exception("licenses", datetime.date(2026, 12, 31)),)


EXCEPTION = '[[exceptions]]\nmodel = "x"\nreason = "r"\napproved_by = "k"\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ("version: is missing", "version = 1")),
        ("version = 2\n", ("version: 2 is not known",)),
        ("version = true\n", ("version: True is not known",)),
        ('version = 1\nlicences = ["mit"]\n', ("licences: there is no such key", "'licenses'")),
        ("version = 1\nlicenses = []\n", ("licenses: ", "length >= 1")),
        ("version = 1\nmax_parameters = -1\n", ("max_parameters: ",)),
        ('version = 1\nmax_parameters = "4B"\n', ("max_parameters: expected 'int', got 'str'",)),
        ("version = 1\nmax_perplexity_increase = nan\n", ("max_perplexity_increase",)),
        ('version = 1\nquantizations = ["Q4_K_M", "Q9"]\n', ("quantizations[1]: ", "Q9")),
        ("version = 1\nmin_parameters = 9\nmax_parameters = 8\n", ("min_parameters: 9 is more than",)),
        ('version = 1\nweight_folders = ["m"]\n', ("weight_folders: ", "offline_only")),
        (f'version = 1\n{EXCEPTION}rule = "license"\nuntil = 2026-12-31\n', ("exceptions[", "'licenses'")),
        (f'version = 1\n{EXCEPTION}rule = "licenses"\nuntil = "soon"\n', ("until: ", "date")),
        (f'version = 1\n{EXCEPTION}rule = "licenses"\nuntill = 2026-12-31\n', ("untill", "'until'")),
        (f'version = 1\n{EXCEPTION}rule = "licenses"\n', ("exceptions[", "until")),
        ("version = 1\n[[", ("not TOML",)),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_file_and_key(
    content: str, said: tuple[str, ...], tmp_path: Path
) -> None:
    """Nothing is skipped: a rule that is passed over would allow what it forbids."""
    file = tmp_path / "policy.toml"
    file.write_text(content)
    with pytest.raises(InvalidInputError) as error:
        load_policy(file)
    assert str(error.value).startswith(str(file))
    for text in said:
        assert text in str(error.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """A folder, a missing file, bytes that are no text, and more than a policy could be."""
    for name, content in (("missing", None), ("binary", b"\xff\xfe"), ("huge", b"#" * (1 << 21))):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InvalidInputError, match=name):
            load_policy(file)
    with pytest.raises(InvalidInputError, match="not a file"):
        load_policy(tmp_path)
