"""A policy in the commands: only what it allows is listed, and every refusal and exception is told."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from advisor.catalog import Catalog
from advisor.cli.main import run
from advisor.explain import describe
from advisor.policy import Policy
from advisor.quality import estimate_quality
from advisor.recommend import recommend
from advisor.ruling import Ruling, explain_under
from tests.advisor.conftest import Ask

TODAY = datetime.date(2026, 11, 24)
DEVICE = "Apple M2 Pro"


def ruling(**rules: Any) -> Ruling:
    return Ruling(Policy(version=1, **rules), TODAY)


def test_nothing_that_a_policy_forbids_is_listed(ask: Ask, catalog: Catalog) -> None:
    """Each listed deployment keeps every rule, each model is listed or excluded, some by the policy."""
    rules = ruling(
        licenses=("permissive",), quantizations=("Q4_K_M", "Q6_K"), max_parameters=4 * 10**9,
        max_perplexity_increase=0.05,
    )  # fmt: skip
    result = recommend(catalog.models, *ask(DEVICE), ruling=rules)
    assert result.ranked
    for candidate in result.ranked:
        assert candidate.model.license_class == "permissive"
        assert candidate.variant.quant in ("Q4_K_M", "Q6_K")
        assert candidate.model.parameters <= 4 * 10**9
        assert candidate.quality.loss is None or candidate.quality.loss.perplexity_increase_high <= 0.05
    assert len(result.ranked) + len(result.excluded) == len(catalog.models)
    told = [s for each in result.excluded for s in each.shortfalls if s.constraint == "policy"]
    assert told
    assert all("rule" in describe(shortfall) for shortfall in told)


def test_a_policy_that_allows_everything_changes_nothing(ask: Ask, catalog: Catalog) -> None:
    """The same list in the same order."""
    plain = recommend(catalog.models, *ask(DEVICE))
    assert recommend(catalog.models, *ask(DEVICE), ruling=ruling()).ranked == plain.ranked


def test_taking_variants_out_leaves_the_quality_of_the_others_as_it_was(catalog: Catalog) -> None:
    """What a quantization loses is reckoned from the F16 variant, which may be forbidden itself."""
    model = catalog.find("Qwen3-4B")
    narrowed, _ = ruling(quantizations=("Q4_K_M",)).narrowed(model)
    (variant,) = narrowed.variants
    assert estimate_quality(narrowed, variant) == estimate_quality(model, variant)


def test_offline_only_lists_what_lies_in_the_folders(ask: Ask, catalog: Catalog, tmp_path: Path) -> None:
    """A file of the variant, by name, in a folder of the policy; nothing else."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "qwen3-0.6b-q8_0.gguf").touch()
    result = recommend(
        catalog.models, *ask(DEVICE), ruling=ruling(offline_only=True, weight_folders=(str(tmp_path),))
    )
    assert [(c.model.name, c.variant.quant) for c in result.ranked] == [("Qwen3-0.6B", "Q8_0")]
    elsewhere = ruling(offline_only=True, weight_folders=(str(tmp_path / "no"),))
    assert not recommend(catalog.models, *ask(DEVICE), ruling=elsewhere).ranked


def test_a_forbidden_quantization_is_explained_with_one_that_is_allowed(ask: Ask, catalog: Catalog) -> None:
    """The change that is offered keeps the policy and fits; where the model itself is forbidden there is none."""
    model, rules = catalog.find("Qwen3-0.6B"), ruling(quantizations=("Q4_K_M",))
    explanation = explain_under(model, "Q8_0", *ask(DEVICE), rules)
    assert not explanation.fits
    assert explanation.shortfalls[0].constraint == "policy"
    (change,) = explanation.changes
    assert explain_under(model, str(change.value), *ask(DEVICE), rules).fits
    assert all(
        any(s.constraint == "policy" for s in each.shortfalls) is (each.variant.quant != "Q4_K_M")
        for each in explanation.variants
    )
    forbidden = explain_under(model, "Q8_0", *ask(DEVICE), ruling(families=("Gemma 3",)))
    assert not forbidden.fits
    assert forbidden.changes == forbidden.together == ()


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Permissive licences only, with an exception for ten more days and one that ended yesterday."""
    today = datetime.date.today()
    text = 'version = 1\nlicenses = ["permissive"]\nfamilies = ["Gemma 3"]\n'
    for model, days in (("gemma-3-1b-it", 10), ("gemma-3-270m-it", -1)):
        until = today + datetime.timedelta(days=days)
        text += (
            f'[[exceptions]]\nmodel = "{model}"\nrule = "licenses"\nuntil = {until}\n'
            'reason = "pilot"\napproved_by = "Kim"\n'
        )
    file = tmp_path / "policy.toml"
    file.write_text(text)
    return file


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = run([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_an_exception_in_use_is_reported_with_the_days_it_has_left(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model of the exception is listed, its siblings are not; the exception that ended is said to have."""
    code, document = call(capsys, "recommend", "--device", DEVICE, "--policy", str(policy))
    assert code == 0
    assert [each["name"] for each in document["recommendations"]] == ["gemma-3-1b-it"]
    notes = [note for note in document["notes"] if "exception" in note]
    assert len(notes) == 2
    assert all(text in notes[0] for text in ("gemma-3-1b-it", "10 days left", "Kim"))
    assert all(text in notes[1] for text in ("gemma-3-270m-it", "expired"))


@pytest.mark.parametrize(
    ("command", "model", "code"),
    [
        ("explain", "gemma-3-1b-it", 0),
        ("explain", "gemma-3-270m-it", 3),
        ("estimate", "gemma-3-1b-it:Q4_0", 0),
        ("estimate", "gemma-3-270m-it:Q4_0", 3),
    ],
)
def test_explain_and_estimate_obey_the_policy(
    command: str, model: str, code: int, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and the rule's name where it is broken and nobody excuses it."""
    got, document = call(capsys, command, model, "--device", DEVICE, "--policy", str(policy))
    assert got == code
    shortfalls = document["deployment"]["shortfalls"] + document.get("shortfalls", [])
    broken = [each for each in shortfalls if each["constraint"] == "policy"]
    assert bool(broken) is (code == 3)
    assert all("licenses" in each["message"] and "expired" in each["message"] for each in broken)


@pytest.mark.parametrize(
    ("rule", "named"), [('licenses = ["wtfpl-9"]', "licenses"), ('families = ["gpt-6"]', "families")]
)
def test_a_licence_or_family_that_nobody_has_is_refused(
    rule: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input with file and key, not an empty list."""
    file = tmp_path / "policy.toml"
    file.write_text(f"version = 1\n{rule}\n")
    code, document = call(capsys, "recommend", "--device", DEVICE, "--policy", str(file))
    assert code == 2
    assert f"{file}: {named}: " in document["error"]["message"]


def test_the_policy_of_the_guide_is_a_policy() -> None:
    """The example in the documentation is read without complaint."""
    import re
    import tomllib

    text = (Path(__file__).parents[2] / "docs/how-to/policy.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert msgspec.convert(tomllib.loads(example[1]), Policy).exceptions
