"""`slm-advisor fidelity`: the table, the document, and the gate's exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from advisor.cli.main import run
from advisor.cli.schema import schema_of
from advisor.gate import Limits, gate_exit_code, judge
from quantize import fidelity as measuring
from quantize.fidelity import Fidelity, Measure
from quantize.texts import HELD_OUT

FOUND = Fidelity(
    perplexity=Measure(12.5, 0.8),
    reference_perplexity=Measure(12.2, 0.8),
    perplexity_increase=Measure(0.025, 0.005),
    kl_divergence=Measure(0.04, 0.002),
    kl_divergence_p99=Measure(0.3, 0.05),
    same_top=Measure(0.92, 0.01),
    predictions=2040,
    chunks=8,
    context=512,
    text="held-out.txt",
    text_sha256="0" * 64,
    seconds=12.0,
)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two files, and a measurement of them that needs no engine."""
    paths = tmp_path / "built.gguf", tmp_path / "source.gguf"
    for path in paths:
        path.write_bytes(b"GGUF")
    monkeypatch.setattr(measuring, "measure_fidelity", lambda *_, **__: FOUND)
    return str(paths[0]), str(paths[1])


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ((), 0),
        (("--max-kld", "0.05", "--max-ppl-increase", "5%", "--min-same-top", "90%"), 0),
        (("--max-kld", "0.03"), 3),
        (("--max-kld", "0.041"), 4),
        (("--max-ppl-increase", "0.026"), 4),
        (("--min-same-top", "95%"), 3),
        (("--max-kld", "0.041", "--min-same-top", "95%"), 3),
        (("--min-same-top", "150%"), 2),
        (("--max-ppl-increase", "two"), 2),
        (("--chunks", "1"), 2),
    ],
)
def test_limits_decide_the_exit_code(
    models: tuple[str, str], limits: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """3 when a limit is broken, 4 when none is but the error spans one, 2 when a limit means nothing."""
    assert run(["fidelity", *models, *limits]) == code
    out = capsys.readouterr().out
    assert ("too close to call" in out) == ("0.041" in limits or "0.026" in limits)
    assert all(len(line) <= 80 for line in out.splitlines() if str(models[0])[:20] not in line)


def test_the_document_holds_its_schema(models: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fidelity", *models, "--max-kld", "0.041", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, schema_of("fidelity"))
    (verdict,) = document["verdicts"]
    assert verdict["outcome"] == "too close to call"
    assert verdict["margin"] > document["fidelity"]["kl_divergence"]["standard_error"]


def test_two_chunks_prove_little() -> None:
    """The same error is worth less when it comes from fewer chunks."""
    limits = Limits(max_kld=0.0435)
    assert gate_exit_code(judge(FOUND, limits)) == 0
    assert gate_exit_code(judge(msgspec.structs.replace(FOUND, chunks=2), limits)) == 4


def test_a_file_that_is_not_there_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fidelity", "no-such.gguf", "neither.gguf"]) == 2
    assert "no-such.gguf" in capsys.readouterr().err


@pytest.mark.engine
def test_a_real_file_passes_a_gate_against_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line to the engine and back."""
    pytest.importorskip("llama_cpp")
    from tests.quantize.smollm2 import smollm2

    model = str(smollm2())
    arguments = ["--context", "128", "--chunks", "2", "--max-kld", "0.01", "--text", str(HELD_OUT)]
    assert run(["fidelity", model, model, *arguments]) == 0
    out = capsys.readouterr().out
    assert "254" not in out
    assert "126 predictions, 2 chunks of 128 tokens" in " ".join(out.split())
    assert "passed: KL divergence at most 0.01" in out
