"""Checking a catalog file: every mistake, with the line and the field it stands in."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog import CATALOG_FOLDER
from advisor.catalog_check import check_file
from advisor.cli.main import run
from advisor.toml_text import key_lines, write_toml

GOOD = """\
family = "Tiny"

[sources]
card = "the card"

[[model]]
id = "me/tiny-1"
name = "tiny-1"
parameters = 63200
parameters_check = "exact"
license = "MIT"
license_class = "permissive"
languages = ["en", "ja"]
tasks = [
  "chat",
  "general",
]

[model.architecture]
name = "llama"
n_layer = 1
n_embd = 64
n_ff = 128
n_head = 4
n_head_kv = 4
head_dim = 16
n_vocab = 100
context_length = 128

[model.sources]
license = "card"

[[model.scores]]
harness = "lm-eval"
source = "card"
unit = "%"
uniform = "yes"
results = [
  { benchmark = "MMLU", value = 31.5 },
  { benchmark = "IFEval", value = 20 },
]
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    # 100 x 64 twice (embedding, output), 4 x 64 x 64 (attention), 3 x 64 x 128 (feed-forward), 3 norms of 64.
    path = tmp_path / "tiny.toml"
    path.write_text(GOOD.replace("63200", str(2 * 6400 + 4 * 4096 + 3 * 8192 + 3 * 64)))
    return path


def problems_after(path: Path, old: str, new: str) -> list[tuple[int | None, str, str]]:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    family, problems = check_file(path)
    assert family is None
    return [(problem.line, problem.field, problem.message) for problem in problems]


def test_a_good_file_has_no_problems(tiny: Path) -> None:
    family, problems = check_file(tiny)
    assert problems == []
    assert family is not None
    assert family.model[0].verified


@pytest.mark.parametrize("path", sorted(CATALOG_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_files_have_no_problems(path: Path) -> None:
    assert check_file(path)[1] == []


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "says"),
    [
        ('license = "MIT"', 'licence = "MIT"', 11, "licence", "did you mean 'license'"),
        ('name = "tiny-1"\n', "", 6, "name", "required and missing"),
        ('"me/tiny-1"', '"tiny"', 7, "id", "Qwen/Qwen3-8B"),
        ("parameters = ", 'parameters = "lots" #', 9, "parameters", "'lots'"),
        ("parameters = ", "parameters = -", 9, "parameters", ">= 1"),
        ('"exact"', '"surely"', 10, "parameters_check", "exact, within 0.5%, unverified"),
        ('"permissive"', '"free"', 12, "license_class", "permissive, conditional, non-commercial"),
        ('"ja"', '"japanese"', 13, "languages[1]", "'japanese'"),
        ('"general"', '"poetry"', 16, "tasks[1]", "reasoning"),
        ("n_head_kv = 4", "n_heads_kv = 4", 25, "architecture.n_heads_kv", "did you mean 'n_head_kv'"),
        ("n_layer = 1", "n_layer = 0", 19, "architecture", "n_layer"),
        ('name = "llama"', 'name = "warp-drive"', 19, "architecture", "warp-drive"),
        ("n_ff = 128", "n_ff = 256", 9, "parameters", "add up to"),
        ('license = "card"', 'license = "rumour"', 31, "sources.license", "rumour"),
        ('source = "card"', 'source = "rumour"', 35, "scores[0].source", "rumour"),
        ('uniform = "yes"', 'uniform = "maybe"', 37, "scores[0].uniform", "within table"),
        ("value = 20", 'value = "high"', 40, "scores[0].results[1].value", "'high'"),
        ('license_class = "permissive"\n', "", 11, "license", "both or neither"),
        ("[[model]]", "[model]", 6, "model", "array"),
    ],
)
def test_a_mistake_is_named_by_line_and_field(
    tiny: Path, old: str, new: str, line: int, field: str, says: str
) -> None:
    found = problems_after(tiny, old, new)
    assert [(each[0], each[1]) for each in found if says in each[2]] == [(line, field)], found


def test_a_quantization_that_the_engine_does_not_have_is_named(tiny: Path) -> None:
    sizes = "\n".join(f"{part}_bytes = 1" for part in ("tensor", "file", "embedding", "output", "layer"))
    types = "bytes_by_type = { F16 = 1 }\nread_bytes_by_type = { F16 = 1 }"
    tiny.write_text(
        f'{tiny.read_text()}\n[[model.variants]]\nquant = "Q9_K"\nbits_per_weight = 9.0\n{sizes}\n{types}\n'
    )
    (problem,) = check_file(tiny)[1]
    assert problem.field == "variants[0].quant"
    assert "Q9_K" in problem.message


def test_one_mistake_does_not_hide_the_next(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace('"ja"', '"japanese"').replace('"chat"', '"talk"'))
    assert {problem.field for problem in check_file(tiny)[1]} == {"languages[1]", "tasks[0]"}


def test_a_model_without_dimensions_must_say_why(tiny: Path) -> None:
    text = tiny.read_text()
    start, end = text.index("[model.architecture]"), text.index("[model.sources]")
    tiny.write_text(text[:start] + text[end:])
    (problem,) = check_file(tiny)[1]
    assert "unsupported" in problem.message


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b'family = "x"\n[[model]\n', 2, "not valid TOML"),
        (b'family = "x\n', 1, "not valid TOML"),
        (b"\xff\xfe", None, "UTF-8"),
        (b"a = " + b"[" * 5000, 1, "not valid TOML"),
    ],
)
def test_what_is_no_toml_is_said_to_be_none(
    tmp_path: Path, content: bytes, line: int | None, says: str
) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    family, (problem,) = check_file(path)
    assert family is None
    assert problem.line == line
    assert says in problem.message


def test_check_prints_file_line_and_field_and_ends_with_2(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_text(tiny.read_text().replace("license =", "licence =", 1))
    assert run(["catalog", "check", str(tiny)]) == 2
    assert f"{tiny}:11: licence:" in capsys.readouterr().out


def test_check_as_json_lists_the_problems(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_text(tiny.read_text().replace("license =", "licence =", 1))
    assert run(["catalog", "check", str(tiny), "/no/such/file.toml", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "slm-advisor/catalog-check"
    licence, missing_file = document["problems"]
    assert (licence["line"], licence["field"]) == (11, "licence")
    assert missing_file["file"] == "/no/such/file.toml"
    assert missing_file["line"] is None


def test_check_without_files_finds_the_shipped_catalog_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["problems"] == []
    assert document["models"] >= 200


KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
SCALARS = st.one_of(
    st.integers(-(2**62), 2**62), st.booleans(), st.text(max_size=12), st.floats(allow_nan=False)
)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
        max_leaves=8,
    ),
    max_size=5,
)


@given(DOCUMENTS)
def test_what_is_written_is_read_back_the_same(document: dict[str, object]) -> None:
    assert tomllib.loads(write_toml(document)) == document


@given(DOCUMENTS)
def test_the_line_of_every_top_level_key_is_found(document: dict[str, object]) -> None:
    text = write_toml(document)
    lines = key_lines(text)
    for key in document:
        assert (key,) in lines or (key, 0) in lines, text
