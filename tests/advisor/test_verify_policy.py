"""`verify --policy`: what a policy forbids fails, what the manifest cannot tell is unknown, exceptions are noted."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest

from advisor.cli.schema import schema_of
from advisor.manifest import DeploymentManifest
from advisor.policy import Policy, rules_of
from advisor.verify_checks import Check
from advisor.verify_policy import _RULES, PolicyOfTheDay, facts_in, policy_checks
from quantize.fidelity import Fidelity, Measure
from tests.advisor.conftest import Call
from tests.advisor.manifests import FILE, pinned
from tests.advisor.test_policy import exception
from tests.advisor.test_verify import written

TODAY = datetime.date(2026, 11, 24)
AT_HAND = [Check(id="file", title="File", status="pass"), Check(id="sha256", title="SHA-256", status="pass")]


def judged(
    manifest: DeploymentManifest, file: list[Check] = AT_HAND, **rules: Any
) -> tuple[dict[str, str], tuple[str, ...]]:
    checks, notes = policy_checks(
        PolicyOfTheDay(Policy(version=1, **rules), TODAY),
        manifest,
        [*file, Check(id="x", title="X", status="fail")],
    )
    return {check.id.removeprefix("policy."): check.status for check in checks}, notes


def own_model(manifest: DeploymentManifest, **unknown: Any) -> DeploymentManifest:
    """The same deployment of a model that no catalog has."""
    model = msgspec.structs.replace(
        manifest.model, id="local/ours", name="ours", license=None, license_class=None
    )
    return msgspec.structs.replace(manifest, model=model, **unknown)


def test_each_rule_that_is_set_is_a_check_and_no_other() -> None:
    """A gemma of 1B at Q4_K_M, 806 MB: what it keeps passes, what it breaks fails."""
    kept = {
        "licenses": ("gemma",),
        "families": ("Gemma 3",),
        "quantizations": ("q4-k-m",),
        "min_parameters": 1,
        "max_parameters": 2_000_000_000,
        "max_file_bytes": FILE.bytes,
        "max_perplexity_increase": 0.5,
        "offline_only": True,
    }
    broken = {
        "licenses": ("apache-2.0",),
        "families": ("qwen",),
        "quantizations": ("Q8_0",),
        "min_parameters": 2_000_000_000,
        "max_parameters": 1,
        "max_file_bytes": FILE.bytes - 1,
        "max_perplexity_increase": 0.0,
    }
    assert set(kept) == set(_RULES) == set(rules_of(Policy(version=1, **kept)))  # type: ignore[arg-type]
    assert judged(pinned(), **kept)[0] == dict.fromkeys(kept, "pass")
    assert judged(pinned(), **broken)[0] == dict.fromkeys(broken, "fail")
    assert judged(pinned()) == ({}, ())


def test_what_the_manifest_cannot_tell_is_unknown() -> None:
    """A model of one's own without a licence, pinned before there was a file: nobody is let in for want of a fact."""
    rules = {
        "licenses": ("permissive",),
        "max_file_bytes": 1 << 40,
        "max_perplexity_increase": 1.0,
        "offline_only": True,
    }
    bare = own_model(pinned(), file=None, bytes_by_type={}, fidelity=None)
    assert judged(bare, [], **rules)[0] == dict.fromkeys(rules, "unknown")
    odd = pinned(bytes_by_type={"Q99_X": 1})
    assert judged(odd, max_perplexity_increase=1.0)[0] == {"max_perplexity_increase": "unknown"}


def test_the_file_is_at_hand_only_where_its_hash_says_so() -> None:
    """A file that fails is one that would have to be fetched; one that nobody hashed is unknown."""
    for status in ("fail", "unknown"):
        checks = [AT_HAND[0], msgspec.structs.replace(AT_HAND[1], status=status)]
        assert judged(pinned(), checks, offline_only=True)[0] == {"offline_only": status}


def test_a_measured_loss_counts_at_its_high_end_and_before_an_estimate() -> None:
    """1% with a standard error of 0.1% is allowed where 1.2% is, and not where 1% is."""
    small = Measure(0.01, 0.001)
    fidelity = Fidelity(
        perplexity=Measure(10, 0.1),
        reference_perplexity=Measure(10, 0.1),
        perplexity_increase=small,
        kl_divergence=small,
        kl_divergence_p99=small,
        same_top=small,
        predictions=1000,
        chunks=100,
        context=512,
        text="text",
        text_sha256="0" * 64,
        seconds=1.0,
    )
    measured = pinned(fidelity=fidelity)
    assert judged(measured, max_perplexity_increase=0.012)[0] == {"max_perplexity_increase": "pass"}
    assert judged(measured, max_perplexity_increase=0.01)[0] == {"max_perplexity_increase": "fail"}
    increase = facts_in(measured, local=None).perplexity_increase
    assert increase is not None
    assert increase == pytest.approx(0.0113, abs=1e-4)
    estimated = facts_in(pinned(), local=None).perplexity_increase
    assert estimated is not None
    assert estimated > increase


def test_a_size_that_was_not_pinned_is_the_whole_file_s() -> None:
    """The tensors alone would let in a file whose header and tokenizer put it over the limit."""
    bare = pinned(file=None)
    size = facts_in(bare, local=None).file_bytes
    assert size is not None
    assert size > sum(bare.bytes_by_type.values())


def test_an_exception_in_force_passes_with_a_note_and_an_expired_one_does_not() -> None:
    """The note has the days left; on the day after the last it fails again, and the note says since when."""
    last = exception("licenses", TODAY, "gemma-3-1b-it")
    found, notes = judged(pinned(), licenses=("mit",), exceptions=(last,))
    assert found == {"licenses": "pass"}
    assert "0 days left" in notes[0]
    expired = exception("licenses", TODAY - datetime.timedelta(days=1), "gemma-3-1b-it")
    found, notes = judged(pinned(), licenses=("mit",), exceptions=(expired,))
    assert found == {"licenses": "fail"}
    assert "expired on" in notes[0]
    unused = exception("licenses", TODAY, "Qwen3-8B")
    assert judged(pinned(), licenses=("gemma",), exceptions=(unused,)) == ({"licenses": "pass"}, ())


POLICY = """
version = 1
licenses = ["apache-2.0"]
quantizations = ["Q8_0"]
max_parameters = 8_000_000_000
offline_only = true

[[exceptions]]
model = "gemma-3-1b-it"
rule = "quantizations"
until = 2999-12-31
reason = "a trial"
approved_by = "Kim"
"""


@pytest.mark.parametrize("way", [("--no-run",), ("--via", "sh -c"), ()])
def test_every_way_to_verify_and_every_output_shows_the_policy(
    call: Call, tmp_path: Path, way: tuple[str, ...]
) -> None:
    """The file is not there: the licence fails, the size passes, the quantization is excused with a note."""
    path = written(tmp_path, pinned())
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    junit, sarif = tmp_path / "v.xml", tmp_path / "v.sarif"
    command = ("verify", path, *way, "--policy", policy)
    code, out, err = call(*command, "--json", "--junit", junit, "--sarif", sarif)
    assert code == 3, err
    document = json.loads(out)
    jsonschema.validate(document, schema_of("verification"))
    statuses = {check["id"]: check["status"] for check in document["checks"]}
    assert statuses["policy.licenses"] == "fail"
    assert statuses["policy.quantizations"] == statuses["policy.max_parameters"] == "pass"
    assert statuses["policy.offline_only"] == ("unknown" if "--via" in way else "fail")
    assert any("days left: a trial (Kim)" in note for note in document["notes"])
    root = ElementTree.parse(junit).getroot()
    assert root.find(".//testcase[@name='policy.licenses: Policy: licence']/failure") is not None
    assert "a trial (Kim)" in str(root.findtext(".//system-out"))
    (run,) = json.loads(sarif.read_text())["runs"]
    (licence,) = [each for each in run["results"] if each["ruleId"] == "policy.licenses"]
    line = path.read_text().splitlines()[
        licence["locations"][0]["physicalLocation"]["region"]["startLine"] - 1
    ]
    assert '"license": "gemma"' in line
    assert any(
        "a trial" in each["message"]["text"] for each in run["invocations"][0]["toolExecutionNotifications"]
    )
    code, out, _ = call(*command)
    assert code == 3
    assert (
        "Policy: licence: rule licenses of the policy allows licence apache-2.0, and it has gemma"
        in " ".join(out.split())
    )
    assert max(map(len, out.splitlines())) <= 80


def test_a_policy_with_a_mistake_is_refused_before_anything_is_checked(call: Call, tmp_path: Path) -> None:
    """Exit code 2, with the key."""
    path = written(tmp_path, pinned())
    policy = tmp_path / "policy.toml"
    policy.write_text("version = 1\nlicence = ['mit']\n")
    code, _, err = call("verify", path, "--no-run", "--policy", policy)
    assert (code, "licence" in err) == (2, True)
