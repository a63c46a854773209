"""Fidelity: what llama-perplexity says, with errors that know of chunks."""

from __future__ import annotations

import math
import random
import statistics
from pathlib import Path

import pytest

from profiles.engine.protocol import ChunkCompared
from quantize import fidelity as module
from quantize.errors import InvalidModelError, NotComparableError, TooLittleMemoryError
from quantize.fidelity import Fidelity, measure_fidelity, summarize
from quantize.texts import CALIBRATION, HELD_OUT
from tests.quantize.smollm2 import requantized, smollm2


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("llama_cpp")
    return requantized(smollm2(), tmp_path_factory.mktemp("built") / "q4_0.gguf")


def chunk(*divergences: float, nll: float = 2.0, same: bool = True) -> ChunkCompared:
    n = len(divergences)
    return ChunkCompared((nll + 0.1,) * n, (nll,) * n, divergences, (same,) * n)


def summary(chunks: list[ChunkCompared]) -> Fidelity:
    return summarize(chunks, context=512, text=HELD_OUT, seconds=1.0)


@pytest.mark.engine
def test_figures_agree_with_llama_perplexity(built: Path) -> None:
    """Perplexity within 0.2%, KL divergence within 2%; how theirs were made is in data/fidelity/README.md."""
    seen: list[int] = []
    found = measure_fidelity(
        built, smollm2(), HELD_OUT, chunks=4, progress=lambda done, total, _: seen.append(total - done)
    )
    assert seen == [3, 2, 1, 0]
    assert found.perplexity.value == pytest.approx(21.701156, rel=0.002)
    assert found.reference_perplexity.value == pytest.approx(16.6276, rel=0.002)
    assert found.kl_divergence.value == pytest.approx(0.340897, rel=0.02)
    assert found.kl_divergence_p99.value == pytest.approx(1.763993, rel=0.02)
    assert found.same_top.value == pytest.approx(0.65490, abs=0.005)
    assert found.perplexity_increase.value == pytest.approx(0.305130, rel=0.02)
    assert found.predictions == 4 * 255
    # The two models stumble over the same words, so their ratio is known better than either.
    assert found.perplexity_increase.standard_error < found.perplexity.standard_error / found.perplexity.value


@pytest.mark.engine
def test_a_file_is_faithful_to_itself() -> None:
    pytest.importorskip("llama_cpp")
    found = measure_fidelity(smollm2(), smollm2(), HELD_OUT, chunks=2, context=128)
    assert found.kl_divergence.value == 0
    assert found.same_top.value == 1
    assert found.perplexity_increase.value == 0


def test_the_error_of_chunks_that_differ_is_larger_than_that_of_their_tokens() -> None:
    """Eight chunks that agree within themselves are eight observations, not eight hundred."""
    draw = random.Random(1)
    means = [draw.uniform(0.1, 0.5) for _ in range(8)]
    found = summary([chunk(*[mean] * 100) for mean in means]).kl_divergence
    assert found.value == pytest.approx(statistics.fmean(means))
    assert found.standard_error == pytest.approx(statistics.stdev(means) / math.sqrt(8))


def test_an_increase_that_is_the_same_everywhere_has_no_error() -> None:
    """Both models find some chunks harder; what is judged is the difference."""
    found = summary([chunk(0.1, 0.2, nll=nll) for nll in (1.0, 2.0, 3.0)])
    assert found.perplexity_increase.value == pytest.approx(math.exp(0.1) - 1)
    assert found.perplexity_increase.standard_error == pytest.approx(0, abs=1e-12)
    assert found.perplexity.standard_error > 1


def test_the_percentile_lies_between_neighbours_and_its_error_spans_them() -> None:
    found = summary([chunk(*range(500)), chunk(*range(500, 1001))]).kl_divergence_p99
    assert found.value == pytest.approx(990)
    assert found.standard_error == pytest.approx(math.sqrt(1001 * 0.99 * 0.01), rel=0.01)


@pytest.mark.engine
def test_models_of_different_vocabularies_are_refused(tmp_path: Path) -> None:
    """Not the same number of tokens, and the message says so."""
    pytest.importorskip("llama_cpp")
    from quantize.skeleton import write_skeleton
    from tests.profiles.test_engine import TINY

    write_skeleton(TINY, tmp_path / "tiny.gguf")
    with pytest.raises(NotComparableError, match="1,000 and 49,152 tokens"):
        measure_fidelity(tmp_path / "tiny.gguf", smollm2(), HELD_OUT)


@pytest.mark.engine
def test_models_that_do_not_fit_side_by_side_are_refused_before_they_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("llama_cpp")
    monkeypatch.setattr(module, "free_bytes", lambda: 100_000_000)
    with pytest.raises(TooLittleMemoryError, match=r"takes 0\.\d GB, 0\.1 GB are free"):
        measure_fidelity(smollm2(), smollm2(), HELD_OUT)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    with pytest.raises(InvalidModelError, match="web page"):
        measure_fidelity(tmp_path / "page.gguf", tmp_path / "page.gguf", HELD_OUT)


def test_the_texts_that_ship_have_no_sentence_in_common() -> None:
    """What a matrix was calibrated on must not be what fidelity is measured on."""
    one, other = (set(path.read_text(encoding="utf-8").split("\n")) for path in (CALIBRATION, HELD_OUT))
    assert not {line for line in one & other if len(line) > 40}
    assert len(CALIBRATION.read_bytes()) > 40_000
