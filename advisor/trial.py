"""Trying one deployment of a recommendation: what to run for it, and what was found beside what was predicted.

`advisor.probe_candidate` runs it with synthetic weights, `advisor.bench` its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from advisor.bench import BenchPlan, BenchResult, measured
from advisor.candidates import Candidate
from advisor.evidence import Evidence, Value, worse
from advisor.measurements import Measurement
from advisor.probe import run_settings
from advisor.workload import Workload
from profiles.throughput import RunSettings, ThroughputTest

REPETITIONS, FEW = 5, 3
LONG_S = 4.0
"""A test whose repetition is expected to take longer is repeated only FEW times."""

Speed = Literal["pp", "tg", "ttft"]


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """One speed, in tokens per second, or in seconds for the first token."""

    speed: Speed
    test: str  # as llama-bench writes it
    predicted: Value | None
    found: Value


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What running a deployment gave. `model` is None for a file that is not of the catalog."""

    grade: Evidence
    model: str | None
    quant: str | None
    label: str
    rows: tuple[TrialRow, ...]
    kept: bool
    peak_resident_bytes: int | None = None
    notes: tuple[str, ...] = ()


def run_settings_of(candidate: Candidate) -> RunSettings:
    """The candidate's settings as the engine is given them, so that what is measured counts for its row."""
    settings, model = candidate.settings, candidate.model
    assert model.architecture is not None
    layers = settings.offload_layers
    return msgspec.structs.replace(
        run_settings(settings), gpu_layers=-1 if layers > model.architecture.n_layer else layers
    )


def plan_for(candidate: Candidate, workload: Workload, *, strict: bool = True) -> BenchPlan:
    """The workload's prompt, and its answer behind that prompt, with the candidate's settings."""
    prompt, answer = workload.prompt_tokens, workload.answer_tokens
    speed = candidate.speed
    longest = 0.0 if speed is None else max(prompt / speed.pp.value, answer / speed.tg.value)
    return BenchPlan(
        tests=(ThroughputTest(prompt, 0), ThroughputTest(0, answer, prompt)),
        settings=(run_settings_of(candidate),),
        repetitions=FEW if longest > LONG_S else REPETITIONS,
        strict=strict,
    )


def trial_of_probe(candidate: Candidate, found: Sequence[Measurement], *, kept: bool) -> Trial:
    """A probe's measurements, of the prompt and of the answer behind it."""
    rows = []
    for each in found:
        if each.pp is not None:
            rows.append(TrialRow(speed="pp", test=each.test, predicted=each.predicted_pp, found=each.pp))
        if each.tg is not None:
            rows.append(TrialRow(speed="tg", test=each.test, predicted=each.predicted_tg, found=each.tg))
    n_prompt = next((each.n_prompt for each in found if each.pp is not None), 0)
    return Trial(
        grade="probed",
        model=candidate.model.id,
        quant=candidate.variant.quant,
        label=f"{candidate.model.name}:{candidate.variant.quant}",
        rows=_with_first_token(rows, n_prompt),
        kept=kept,
    )


def trial_of_bench(result: BenchResult, *, kept: bool) -> Trial:
    """A bench's first settings."""
    one = result.runs[0]
    rows = []
    n_prompt = 0
    for rate, predicted in zip(one.run.rates, one.predicted, strict=True):
        test = rate.test
        n_prompt = test.n_prompt or n_prompt
        speed: Speed = "pp" if test.n_prompt else "tg"
        rows.append(TrialRow(speed=speed, test=test.name, predicted=predicted, found=measured(rate)))
    file = result.file
    noise = [f"{rate.test.name}: {reason}" for rate in one.run.rates for reason in rate.noise]
    return Trial(
        grade="measured",
        model=None if file is None or file.model is None else file.model.id,
        quant=None if file is None else file.preset or file.variant.quant,
        label=result.path.name if file is None else file.label,
        rows=_with_first_token(rows, n_prompt),
        kept=kept and file is not None and result.engine is not None,
        peak_resident_bytes=one.run.peak_resident_bytes,
        notes=(*noise, *result.notes),
    )


def _with_first_token(rows: list[TrialRow], n_prompt: int) -> tuple[TrialRow, ...]:
    """The prompt's time and one token's, each at its own end of the interval."""
    pp = next((row for row in rows if row.speed == "pp"), None)
    tg = next((row for row in rows if row.speed == "tg"), None)
    if pp is None or tg is None or not n_prompt:
        return tuple(rows)
    found = _first_token(pp.found, tg.found, n_prompt)
    predicted = None
    if pp.predicted is not None and tg.predicted is not None:
        predicted = _first_token(pp.predicted, tg.predicted, n_prompt)
    return (*rows, TrialRow(speed="ttft", test=pp.test, predicted=predicted, found=found))


def _first_token(pp: Value, tg: Value, n_prompt: int) -> Value:
    return Value(
        n_prompt / pp.value + 1 / tg.value,
        n_prompt / pp.high + 1 / tg.high,
        n_prompt / pp.low + 1 / tg.low,
        worse(pp.evidence, tg.evidence),
    )
