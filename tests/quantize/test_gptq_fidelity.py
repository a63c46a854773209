"""Fidelity of models in torch: the same measure as the engine's, to the last digits that matter."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from quantize.errors import NotComparableError, TooLittleMemoryError
from quantize.fidelity import measure_fidelity
from quantize.gptq import find_gptq
from quantize.gptq_fidelity import measure_gptq_fidelity
from quantize.gptq_worker.protocol import Compare
from quantize.texts import HELD_OUT
from tests.quantize.tiny_folders import make_tiny_folder
from tests.quantize.two_forms import make_two_forms

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_gptq() is None, reason="needs GPTQModel: pip install 'slm-advisor[gptq]'"),
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "llama"
    make_tiny_folder("llama", folder)
    return folder


@pytest.mark.engine
def test_torch_and_the_engine_measure_the_same(tmp_path: Path) -> None:
    """One pair of models, as GGUF files and as folders: the same text, the same predictions, the same figures."""
    pytest.importorskip("llama_cpp")
    source, source_gguf = make_two_forms(tmp_path / "source", noise=0)
    built, built_gguf = make_two_forms(tmp_path / "built", noise=0.05)
    ours = measure_gptq_fidelity(built, source, HELD_OUT, chunks=3, device="cpu")
    theirs = measure_fidelity(built_gguf, source_gguf, HELD_OUT, chunks=3)
    assert ours.predictions == theirs.predictions
    assert theirs.kl_divergence.value > 0.01
    for name in ("perplexity", "reference_perplexity", "kl_divergence", "kl_divergence_p99"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.value == pytest.approx(other.value, rel=0.002)
        assert one.standard_error == pytest.approx(other.standard_error, rel=0.02)
    assert ours.same_top.value == pytest.approx(
        theirs.same_top.value, abs=0.003
    )  # two of 765, that are near ties
    assert ours.perplexity_increase.value == pytest.approx(theirs.perplexity_increase.value, abs=0.001)


def test_a_model_is_faithful_to_itself(llama: Path) -> None:
    seen: list[int] = []
    found = measure_gptq_fidelity(
        llama,
        llama,
        HELD_OUT,
        context=128,
        chunks=3,
        progress=lambda done, total, _: seen.append(total - done),
    )
    assert seen == [2, 1, 0]
    assert (found.kl_divergence.value, found.same_top.value, found.perplexity_increase.value) == (0, 1, 0)


def test_a_row_is_compared_by_the_formulas() -> None:
    import torch

    from quantize.gptq_worker.comparing import compare_rows

    draw = np.random.default_rng(3)
    q, p = (draw.normal(size=(5, 100)) * 3 for _ in range(2))
    target = [7, 0, 99, 50, 3]
    nll, reference, divergence, same = compare_rows(torch.tensor(q), torch.tensor(p), torch.tensor(target))
    for row in range(5):
        q_row, p_row = (np.exp(logits[row]) / np.exp(logits[row]).sum() for logits in (q, p))
        assert nll[row] == pytest.approx(-math.log(q_row[target[row]]))
        assert reference[row] == pytest.approx(-math.log(p_row[target[row]]))
        assert divergence[row] == pytest.approx((p_row * np.log(p_row / q_row)).sum())
        assert same[row] == (q_row.argmax() == p_row.argmax())


def test_reading_in_parts_changes_nothing(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the logits of half a context are too many, they come a few at a time."""
    import torch

    from quantize.gptq_worker import comparing
    from quantize.gptq_worker.reading import load_model

    reference, built = load_model(str(llama)), load_model(str(llama))
    with torch.no_grad():
        built.lm_head.weight.mul_(1.5)
    tokens = torch.arange(100)[None] * 17 % 1024
    job = Compare(built="", source="", text="", context=100, chunks=None, device="cpu")
    whole, parts = [], []
    with torch.inference_mode():
        whole = comparing._compare(built, reference, tokens, job)
        monkeypatch.setattr(comparing, "LOGITS_BYTES", 4 * 1024 * 7)
        parts = comparing._compare(built, reference, tokens, job)
    assert len(whole.kl_divergence) == 49
    assert parts.kl_divergence == pytest.approx(whole.kl_divergence, rel=1e-3, abs=1e-7)
    assert parts.built_nll == pytest.approx(whole.built_nll, rel=1e-5)
    assert parts.same_top == whole.same_top


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_packed_integers_come_out_as_they_went_in(bits: int) -> None:
    """A column is a row of bits, lowest first, cut into words of 32."""
    import torch

    from quantize.gptq_worker.packed import _unpacked

    draw = np.random.default_rng(bits)
    values = draw.integers(0, 1 << bits, size=(64, 5))
    numbers = [sum(int(value) << (bits * place) for place, value in enumerate(column)) for column in values.T]
    words = [[number >> (32 * word) & 0xFFFFFFFF for number in numbers] for word in range(2 * bits)]
    packed = torch.tensor(np.array(words, dtype=np.uint32).astype(np.int32))
    assert (_unpacked(packed, bits).numpy() == values).all()


def test_every_piece_begins_as_a_text_does(llama: Path) -> None:
    """The token that begins a text stands in the place of each piece's first token."""
    from quantize.gptq_worker.reading import cut, load_tokenizer

    tokenizer = load_tokenizer(str(llama))
    tokens = tokenizer(HELD_OUT.read_text("utf-8"), verbose=False)["input_ids"]
    pieces = cut(tokenizer, str(HELD_OUT), 128, 3)
    assert tokens[0] == tokenizer.bos_token_id
    assert [piece[0] for piece in pieces] == [tokenizer.bos_token_id] * 3
    assert pieces[2][1:] == tokens[257:384]


def test_models_of_different_vocabularies_are_refused(llama: Path, tmp_path: Path) -> None:
    make_tiny_folder("qwen2", tmp_path / "other")
    with pytest.raises(NotComparableError, match="their vocabularies differ"):
        measure_gptq_fidelity(llama, tmp_path / "other", HELD_OUT)


def test_models_that_do_not_fit_are_refused_before_they_are_loaded(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quantize import gptq_fidelity as module

    monkeypatch.setattr(module, "free_bytes", lambda: 100_000_000)
    with pytest.raises(TooLittleMemoryError, match=r"takes 0\.\d GB, 0\.1 GB are free"):
        measure_gptq_fidelity(llama, llama, HELD_OUT)
