"""--confirm runs the first candidates, ranks again, and goes on until the head of the list has been run."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from advisor.candidates import Candidate
from advisor.catalog import Catalog
from advisor.cli.main import run as run_command
from advisor.confirm import Confirmed, Failure, Run, confirm
from advisor.evidence import Value
from advisor.load import load_digest
from advisor.measurements import Measurement, measurements
from advisor.recommend import recommend
from profiles.engine.installed import InstalledEngine
from tests.advisor.conftest import Ask


def probed(candidate: Candidate, factor: float) -> tuple[Measurement, ...]:
    """What a probe gives that finds `factor` times the estimated speed."""
    assert candidate.speed is not None
    assert candidate.model.architecture is not None
    settings = candidate.settings
    tg, pp = candidate.speed.tg.value * factor, candidate.speed.pp.value * factor
    common = Measurement(
        at="2026-11-23T21:40:05Z",
        evidence="probed",
        model=candidate.model.id,
        quant=candidate.variant.quant,
        load_digest=load_digest(candidate.model.architecture, candidate.variant.bytes_by_type),
        device="0123456789abcdef",
        engine="an engine",
        backend=candidate.place.processor.backend,
        type_k=settings.type_k,
        type_v=settings.type_v,
        micro_batch=settings.micro_batch,
        offload_layers=settings.offload_layers,
        threads=settings.threads,
        threads_batch=settings.threads_batch,
    )
    return (
        msgspec.structs.replace(common, n_prompt=256, pp=Value(pp, 0.95 * pp, 1.05 * pp, "probed")),
        msgspec.structs.replace(common, n_gen=256, depth=256, tg=Value(tg, 0.95 * tg, 1.05 * tg, "probed")),
    )


def confirmed(ask: Ask, catalog: Catalog, count: int, run: Run) -> Confirmed:
    target, workload = ask("laptop", task="general")
    return confirm(catalog.models, target, workload, count, run)


def test_the_first_of_the_list_have_been_run_when_it_is_done(ask: Ask, catalog: Catalog) -> None:
    """Each once, and what was estimated stays beside what was found."""
    result = confirmed(ask, catalog, 3, lambda candidate: probed(candidate, 1.1))
    assert result.complete
    for candidate in result.recommendation.ranked[:3]:
        assert candidate.speed is not None
        assert candidate.speed.tg.evidence == candidate.speed.pp.evidence == "probed"
    names = [(each.model, each.quant) for each in result.confirmations]
    assert len(names) == len(set(names)) >= 2  # models of equal shapes share a run
    for each in result.confirmations:
        assert each.expected_tg is not None
        assert each.found_tg is not None
        assert each.found_tg.value == pytest.approx(1.1 * each.expected_tg.value)


def test_a_first_choice_that_disappoints_makes_room_for_another_which_is_run_too(
    ask: Ask, catalog: Catalog
) -> None:
    """The list is not left with an estimate at its head."""
    target, workload = ask("laptop", task="general")
    before = recommend(catalog.models, target, workload).ranked[0]

    def run(candidate: Candidate) -> tuple[Measurement, ...]:
        return probed(candidate, 0.02 if candidate.model.id == before.model.id else 1.0)

    result = confirmed(ask, catalog, 2, run)
    after = result.recommendation.ranked[0]
    assert after.model.id != before.model.id
    assert after.speed is not None
    assert after.speed.tg.evidence == "probed"


def test_a_list_that_never_settles_is_given_up_after_two_runs_a_place(ask: Ask, catalog: Catalog) -> None:
    """Every probe takes a minute; the answer says that it is not complete."""
    result = confirmed(ask, catalog, 2, lambda candidate: probed(candidate, 0.001))
    assert len(result.confirmations) == 4
    assert not result.complete


def test_what_fails_keeps_its_estimate_and_what_the_engine_refuses_is_left_out(
    ask: Ask, catalog: Catalog
) -> None:
    """A full disk says nothing about the model; an engine that cannot load it does."""
    target, workload = ask("laptop", task="general")
    first, second = recommend(catalog.models, target, workload).ranked[:2]
    reasons = {
        first.model.id: Failure("unknown model architecture", refused=True),
        second.model.id: Failure("no room on the disk", refused=False),
    }

    def run(candidate: Candidate) -> tuple[Measurement, ...] | Failure:
        return reasons.get(candidate.model.id) or probed(candidate, 1.0)

    result = confirmed(ask, catalog, 2, run)
    outcomes = {(each.model, each.quant): (each.outcome, each.reason) for each in result.confirmations}
    assert outcomes[first.model.id, first.variant.quant] == ("refused", "unknown model architecture")
    assert outcomes[second.model.id, second.variant.quant] == ("failed", "no room on the disk")
    listed = {each.model.id: each for each in result.recommendation.ranked}
    assert listed[second.model.id].speed == second.speed
    kept = listed.get(first.model.id)
    assert kept is None or kept.variant.quant != first.variant.quant


def test_what_was_measured_before_is_not_run_again(ask: Ask, catalog: Catalog) -> None:
    """A bench of yesterday confirms as well as a probe of today."""
    target, workload = ask("laptop", task="general")
    once = confirm(catalog.models, target, workload, 2, lambda candidate: probed(candidate, 1.0))

    def never(candidate: Candidate) -> Failure:
        raise AssertionError(f"{candidate.model.name} was run again")

    again = confirm(catalog.models, once.target, workload, 2, never)
    assert again.complete
    assert again.confirmations == ()


# --- the command


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def invoke(*arguments: str) -> tuple[int, str, str]:
        code = run_command(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


def test_only_this_machine_can_run_candidates(call: Any) -> None:
    """Another device is refused before anything is computed, and so is a question about one model."""
    code, out, err = call("recommend", "--confirm", "2", "--device", "Pixel 9")
    assert (code, out) == (2, "")
    assert "Pixel 9" in err
    assert call("recommend", "--confirm", "2", "--why", "Qwen3-8B")[0] == 2
    assert call("recommend", "--confirm", "0")[0] == 2


def test_without_an_engine_a_component_is_missing(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 5, and the command that installs it."""
    monkeypatch.setattr("profiles.engine.installed.installed_engine", lambda: None)
    code, _, err = call("recommend", "--confirm", "1")
    assert code == 5
    assert "slm-advisor engine install" in err


def test_the_command_tells_what_it_runs_and_shows_what_came_out(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress on stderr; on stdout one document with the runs, and probed speeds at its head."""
    engine = InstalledEngine(version="0.3.36", folder="/nowhere", digest="1a2b3c4d")
    monkeypatch.setattr("profiles.engine.installed.installed_engine", lambda: engine)

    def probe_candidate(candidate: Candidate, _target: Any, _workload: Any, report: Any) -> Any:
        report("round 1 of 3")
        return probed(candidate, 1.0)

    monkeypatch.setattr("advisor.probe_candidate.probe_candidate", probe_candidate)
    code, out, err = call("recommend", "--confirm", "1", "--top", "2", "--json")
    assert code == 0
    assert "1 of at most 2: " in err
    assert "round 1 of 3" in err
    document = json.loads(out)
    assert [each["outcome"] for each in document["confirmations"]] == ["probed"]
    first = document["recommendations"][0]
    assert first["tg_tokens_per_s"]["evidence"] == "probed"
    assert {each["speed"] for each in first["measurements"]} == {"pp", "tg"}


@pytest.mark.engine
@pytest.mark.slow
def test_a_candidate_is_run_by_the_real_engine_and_kept(ask: Ask, catalog: Catalog) -> None:
    """The smallest model there is, on this machine: both speeds, and both in the store."""
    from advisor.cli.options import target_of
    from advisor.probe_candidate import probe_candidate
    from advisor.workload import make_workload

    workload = make_workload(min_tg_tokens_per_s=0.0, max_ttft_s=3600.0, context_length=1024)
    target = target_of(None, workload)
    model = catalog.find("SmolLM2-135M-Instruct")
    candidate = recommend([model], target, workload).ranked[0]
    found = probe_candidate(candidate, target, workload, lambda _: None)
    if isinstance(found, Failure):
        assert "busy" in found.reason or "noise" in found.reason, found.reason
        pytest.skip(f"the machine is too busy: {found.reason}")
    assert [each.pp is not None for each in found] == [True, False]
    assert [each.tg is not None for each in found] == [False, True]
    kept = measurements(found[0].device, found[0].engine)
    assert kept[-2:] == found
    again = target_of(None, workload)
    confirmed = recommend([model], again, workload).ranked[0]
    assert confirmed.speed is not None
    assert confirmed.speed.tg.evidence == confirmed.speed.pp.evidence == "probed"
