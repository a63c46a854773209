"""Throughput with the real engine and a real model, in tiny tests: what a run tells, not how fast it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from profiles.engine.client import Engine
from profiles.errors import EngineError
from profiles.throughput import Progress, RunSettings, ThroughputTest, run_tests

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    pytest.importorskip("llama_cpp")
    with Engine() as engine:
        yield engine


def test_a_run_tells_speed_first_token_memory_and_load_time(engine: Engine, smollm2: Path) -> None:
    """Every rate has its repetitions inside or around its interval, and the sums fit together."""
    seen: list[Progress] = []
    tests = [ThroughputTest(32, 0), ThroughputTest(0, 8), ThroughputTest(32, 8, 16)]
    run = run_tests(
        engine, smollm2, RunSettings(threads=1), tests, repetitions=2, progress=seen.append, strict=False
    )
    assert [rate.test.name for rate in run.rates] == ["pp32", "tg8", "pp32+tg8 @ d16"]
    for rate in run.rates:
        assert 0 < rate.low < rate.value < rate.high
        assert len(rate.samples) == len(rate.samples_s) == 2
        assert rate.samples[0] == pytest.approx(rate.test.tokens / rate.samples_s[0])
    pp, tg, _ = run.rates
    assert run.ttft_s == pytest.approx(32 / pp.value + 1 / tg.value)
    assert run.threads == run.threads_batch == 1
    assert run.peak_resident_bytes is not None
    assert run.peak_resident_bytes > run.model.tensor_bytes
    assert run.load_s > 0
    assert seen[0].phase == "loading"
    assert [(p.test_number, p.repetition) for p in seen[1:]] == [(t, r) for t in (1, 2, 3) for r in (1, 2)]
    assert seen[-1].left_s is not None


def test_prompts_may_have_threads_of_their_own(engine: Engine, smollm2: Path) -> None:
    """Generation is bound by memory and prompts by arithmetic: the best numbers of threads differ."""
    settings = RunSettings(threads=1, threads_batch=2, type_k="q8_0", type_v="q8_0", flash_attention="on")
    run = run_tests(engine, smollm2, settings, [ThroughputTest(16, 0)], repetitions=2, strict=False)
    assert (run.threads, run.threads_batch) == (1, 2)
    assert run.first_token is None


def test_what_the_engine_cannot_do_is_an_error_with_its_reason(
    engine: Engine, smollm2: Path, tmp_path: Path
) -> None:
    """The engine lives on."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(EngineError, match=r"broken\.gguf"):
        run_tests(engine, broken, RunSettings(), [ThroughputTest(8, 0)], strict=False)
    quantized_values = RunSettings(type_v="q8_0", flash_attention="off")
    with pytest.raises(EngineError, match="flash attention"):
        run_tests(engine, smollm2, quantized_values, [ThroughputTest(8, 0)], repetitions=2, strict=False)
    assert run_tests(
        engine, smollm2, RunSettings(), [ThroughputTest(8, 0)], repetitions=2, strict=False
    ).rates


def test_one_repetition_is_refused_for_having_no_spread(engine: Engine, smollm2: Path) -> None:
    """A number without an interval is not finished."""
    with pytest.raises(ValueError, match="spread"):
        run_tests(engine, smollm2, RunSettings(), [ThroughputTest(8, 0)], repetitions=1)
