"""A batch answers every line, the bad ones too."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.cli.schema import schema_of
from advisor.estimate import ErrorLine, Line, estimate_lines

ROW = {"id": 7, "device": "Raspberry Pi 5 8GB", "model": "qwen2.5-1.5b", "quant": "q4_k_m"}


def answer(**changes: Any) -> Line | ErrorLine:
    (line,) = estimate_lines([json.dumps({**ROW, **changes}).encode()])
    return line


def test_a_row_gets_a_line_with_its_id_and_every_estimate() -> None:
    """Speed, memory and the canonical names come back with the id."""
    line = answer()
    assert isinstance(line, Line)
    assert (line.id, line.model, line.quant) == (7, "Qwen/Qwen2.5-1.5B-Instruct", "Q4_K_M")
    assert line.tg_tokens_per_s is not None
    assert line.tg_tokens_per_s.low < line.tg_tokens_per_s.value < line.tg_tokens_per_s.high
    assert line.tg_tokens_per_s.evidence == "spec"
    jsonschema.validate(json.loads(msgspec.json.encode(line)), schema_of("estimate-line"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "no-such-model"}, "no-such-model"),
        ({"quant": "Q9_Z"}, "Q9_Z"),
        ({"device": "no such board"}, "no such board"),
        ({"device": {"memory": {"total_bytes": "lots"}}}, "memory.total_bytes"),
        ({"backend": "tpu"}, "tpu"),
        ({"backend": "cuda"}, "cuda"),
        ({"context_length": -1}, "-1"),
        ({"n_prompt": -3}, "-3"),
        ({"depth": 10**12}, str(10**12)),
        ({"threads": 0}, "threads 0"),
        ({"type_k": "f8"}, "f8"),
        ({"model": "pythia-2.8b", "type_k": "q8_0"}, "q8_0"),
        ({"n_gen": "many"}, "n_gen"),
        ({"model": None}, "model"),
    ],
)
def test_a_bad_row_gets_an_error_line_with_its_id(changes: dict[str, Any], named: str) -> None:
    """The error names the value, and the id is there to find the row."""
    line = answer(**changes)
    assert isinstance(line, ErrorLine)
    assert line.id == 7
    assert named in line.error


def test_a_bad_line_does_not_stop_the_others() -> None:
    """One line in, one line out, in order; blank lines are skipped."""
    good = json.dumps(ROW).encode()
    lines = list(estimate_lines([good, b"not json\n", b"\n", b'{"id": "x"}', b"[1, 2]", b"\xff\xfe", good]))
    assert [isinstance(line, Line) for line in lines] == [True, False, False, False, False, True]
    assert lines[2].id == "x"


def test_settings_reach_the_estimate() -> None:
    """A longer context takes more memory, a deeper cache decodes slower, an accelerator takes the weights."""
    short, long = answer(context_length=1024), answer(context_length=16384)
    assert isinstance(short, Line)
    assert isinstance(long, Line)
    assert long.memory_bytes.value > short.memory_bytes.value
    shallow, deep = answer(depth=0), answer(depth=8192)
    assert isinstance(shallow, Line)
    assert isinstance(deep, Line)
    assert shallow.tg_tokens_per_s is not None
    assert deep.tg_tokens_per_s is not None
    assert deep.tg_tokens_per_s.value < shallow.tg_tokens_per_s.value
    card = answer(device="NVIDIA GeForce RTX 4070")
    assert isinstance(card, Line)
    assert card.accelerator_bytes > card.host_bytes
    assert card.backend == "cuda"


def test_a_device_object_is_filled_in_from_the_library_by_the_chips_name() -> None:
    """An object that names a known card needs no bandwidth."""
    bare = answer(
        device={"name": "my box", "class": "nvidia", "accelerators": [{"name": "NVIDIA GeForce RTX 4070"}]}
    )
    named = answer(device="NVIDIA GeForce RTX 4070")
    assert isinstance(bare, Line)
    assert isinstance(named, Line)
    assert bare.tg_tokens_per_s is not None
    assert named.tg_tokens_per_s is not None
    assert bare.tg_tokens_per_s.value == pytest.approx(named.tg_tokens_per_s.value, rel=0.02)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_a_batch(junk: bytes) -> None:
    """Any line gives an answer or an error line."""
    for line in estimate_lines([junk]):
        assert isinstance(line, Line | ErrorLine)


def test_a_context_that_is_not_given_holds_the_tokens_of_the_row() -> None:
    """A prompt of 30,000 tokens needs the memory of a context that holds it."""
    short, long = answer(), answer(n_prompt=30_000)
    assert isinstance(short, Line)
    assert isinstance(long, Line)
    assert long.memory_bytes.value > short.memory_bytes.value
    given = answer(n_prompt=30_000, context_length=30_720)
    assert isinstance(given, Line)
    assert long.memory_bytes == given.memory_bytes


def test_a_fault_of_ours_in_a_row_does_not_end_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row gets an error line that says so, and the others go on."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("advisor.estimate.deployment_speed", broken)
    line = answer()
    assert isinstance(line, ErrorLine)
    assert (line.id, line.error) == (7, "internal error: ZeroDivisionError: division by zero")


def test_an_empty_cache_type_is_refused() -> None:
    """An empty text is not the default."""
    line = answer(type_k="")
    assert isinstance(line, ErrorLine)
    assert "type-k ''" in line.error


def test_a_field_that_means_nothing_is_named_in_the_answer() -> None:
    """ "thread" for "threads" is answered, and the answer says what was not understood."""
    line = answer(thread=4, note="kitchen")
    assert isinstance(line, Line)
    assert line.ignored == ("note", "thread")
    assert answer().ignored == ()  # type: ignore[union-attr]
