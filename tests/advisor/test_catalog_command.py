"""`slm-advisor catalog list` and `show`, as people and scripts use them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from advisor.catalog import read_index
from advisor.cli.main import run
from advisor.cli.schema import schema_of


@pytest.fixture(autouse=True)
def nobodys_home(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from advisor.catalog import load_catalog

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    load_catalog.cache_clear()


Output = pytest.CaptureFixture[str]


def listed(capsys: Output, *options: str) -> list[dict[str, Any]]:
    assert run(["catalog", "list", "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["count"] == len(document["models"])
    models: list[dict[str, Any]] = document["models"]
    return models


def test_the_list_without_filters_is_the_whole_catalog(capsys: Output) -> None:
    models = listed(capsys)
    assert sum(model["verified"] for model in models) >= 200
    assert {model["name"] for model in models} >= {"Qwen3-8B", "gemma-3-1b-it", "Llama-3.2-3B-Instruct"}


def test_a_family_filter_keeps_that_family(capsys: Output) -> None:
    assert {model["family"] for model in listed(capsys, "--family", "gemma3")} == {"Gemma 3", "Gemma 3n"}


def test_size_filters_are_in_parameters(capsys: Output) -> None:
    models = listed(capsys, "--min-params", "500M", "--max-params", "1.5B")
    assert models
    assert all(5e8 <= model["parameters"] <= 1.5e9 for model in models)


def test_a_permissive_licence_is_asked_for_by_its_class(capsys: Output) -> None:
    models = listed(capsys, "--license", "permissive")
    assert {model["license_class"] for model in models} == {"permissive"}
    assert not any(model["family"] == "Llama 3" for model in models)


def test_a_licence_is_asked_for_by_name_in_any_case(capsys: Output) -> None:
    assert {model["license"] for model in listed(capsys, "--license", "apache-2.0")} == {"Apache-2.0"}


def test_a_language_filter_keeps_models_made_for_it(capsys: Output) -> None:
    models = listed(capsys, "--language", "ja", "--language", "en")
    assert models
    assert all({"ja", "en"} <= set(model["languages"]) for model in models)
    assert not any(model["family"] == "Pythia" for model in models)


def test_a_task_filter_keeps_models_made_for_it(capsys: Output) -> None:
    names = {model["name"] for model in listed(capsys, "--task", "translate")}
    assert "LFM2-350M-ENJP-MT" in names
    assert "Qwen2.5-Coder-7B-Instruct" not in names


def test_models_that_llama_cpp_cannot_run_are_listed_unless_only_runnable_ones_are_wanted(
    capsys: Output,
) -> None:
    everything, runnable = listed(capsys), listed(capsys, "--runnable")
    unable = [model for model in everything if not model["runnable"]]
    assert unable
    assert all(model["unsupported"] for model in unable)
    assert len(runnable) == len(everything) - len(unable)


def test_the_table_fits_eighty_columns_and_counts_its_models(capsys: Output) -> None:
    assert run(["catalog", "list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "granite-4.0-h-small" in out
    assert f"{len(read_index().models)} models" in out.splitlines()[-1]


def test_no_match_is_said_and_is_no_error(capsys: Output) -> None:
    assert run(["catalog", "list", "--max-params", "1M"]) == 0
    assert "No model fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--max-params", "lots"], "500M or 3B"),
        (["--max-params", "-3B"], "500M or 3B"),
        (["--task", "poetry"], "choose one of"),
        (["--family", "warp"], "Gemma 3"),
        (["--license", "free-beer"], "permissive"),
        (["--language", "japanese!"], "ISO 639"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_is_allowed(
    capsys: Output, options: list[str], says: str
) -> None:
    assert run(["catalog", "list", *options]) == 2
    error = capsys.readouterr().err
    assert options[1] in error
    assert says in error


def test_show_gives_every_variant_with_its_exact_size(capsys: Output) -> None:
    assert run(["catalog", "show", "qwen2.5:7b", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["id"] == "Qwen/Qwen2.5-7B-Instruct"
    assert document["parameters"] == 7_615_616_512
    sizes = {variant["quant"]: variant for variant in document["variants"]}
    assert sizes["Q4_K_M"]["file_bytes"] == pytest.approx(4_683_073_536, rel=1e-4)
    assert sizes["Q4_K_M"]["bits_per_weight"] == pytest.approx(4.91, abs=0.01)
    assert sizes["IQ2_XS"]["needs_imatrix"]
    assert document["sources"]["parameters"].startswith("PyPI llmfit")


def test_show_tells_people_why_a_model_cannot_run(capsys: Output) -> None:
    assert run(["catalog", "show", "MobileLLM-R1-950M"]) == 0
    out = capsys.readouterr().out
    assert "cannot run" in out
    assert "zero experts" in " ".join(out.split())


@pytest.mark.parametrize("name", ["Qwen3-30B-A3B", "gemma-3n-E2B", "pythia-14m", "LFM2.5-1.2B-JP-202606"])
def test_what_show_prints_fits_eighty_columns(capsys: Output, name: str) -> None:
    assert run(["catalog", "show", name]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_an_unknown_model_gets_the_nearest_names(capsys: Output) -> None:
    assert run(["catalog", "show", "Qwen3-8", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "Qwen3-8B" in error["nearest"]


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ("catalog-list", ["list", "--family", "phi"]),
        ("catalog-model", ["show", "gpt-oss-20b"]),
        ("catalog-model", ["show", "Phi-4-mini-flash-reasoning"]),
        ("catalog-check", ["check", "/no/such/file.toml"]),
    ],
)
def test_what_is_printed_holds_to_its_schema(capsys: Output, schema: str, arguments: list[str]) -> None:
    import jsonschema

    run(["catalog", *arguments, "--json"])
    jsonschema.validate(json.loads(capsys.readouterr().out), schema_of(schema))
