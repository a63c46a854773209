"""Names of models as people, speed tables and Ollama write them."""

from __future__ import annotations

import pytest

from advisor.catalog import Catalog, Model, family_matches, read_index
from advisor.errors import UnknownModelError
from advisor.names import canonical


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog(read_index().complete_models())


@pytest.mark.parametrize(
    ("text", "model_id"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen/qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5:7b", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen 2.5 3B", "Qwen/Qwen2.5-3B-Instruct"),
        ("qwen2.5-coder-7b-instruct-q4_k_m", "Qwen/Qwen2.5-Coder-7B-Instruct"),
        ("qwen3-1.7b", "Qwen/Qwen3-1.7B"),
        ("Qwen3-1.7B-Instruct", "Qwen/Qwen3-1.7B"),
        ("Qwen3-Coder-30B-A3B", "Qwen/Qwen3-Coder-30B-A3B-Instruct"),
        ("Qwen3VL-2B-Instruct", "Qwen/Qwen3-VL-2B-Instruct"),
        ("Qwen3.6-35B-A3B-GGUF", "Qwen/Qwen3.6-35B-A3B"),
        ("Llama-2-7B", "meta-llama/Llama-2-7b-chat-hf"),
        ("Llama-2-7b-hf", "meta-llama/Llama-2-7b-chat-hf"),
        ("Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ("Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"),
        ("Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("llama3.2:3b", "meta-llama/Llama-3.2-3B-Instruct"),
        ("gemma-4-e2b", "google/gemma-4-E2B-it"),
        ("gemma-4-E4B-it-QAT-Q4_0", "google/gemma-4-E4B-it"),
        ("Gemma 3 1B", "google/gemma-3-1b-it"),
        ("google_gemma-3-270m-it", "google/gemma-3-270m-it"),
        ("phi-3.5-mini", "microsoft/Phi-3.5-mini-instruct"),
        ("phi-4-mini", "microsoft/Phi-4-mini-instruct"),
        ("Phi-3 3.8B", "microsoft/Phi-3-mini-4k-instruct"),
        ("Mistral-7B-v0.3", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("Mistral-Nemo-12B", "mistralai/Mistral-Nemo-Instruct-2407"),
        ("Mistral-Small-3.1-24B", "mistralai/Mistral-Small-3.1-24B-Instruct-2503"),
        ("LFM2.5-8B-A1B-UD-Q4_K_XL", "LiquidAI/LFM2.5-8B-A1B"),
        ("LiquidAI_LFM2.5-2.6B", "LiquidAI/LFM2.5-2.6B"),
        ("TinyLlama-1.1B-Chat-v1.0.i1", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
        ("OLMo-2-7B", "allenai/OLMo-2-1124-7B-Instruct"),
        ("DeepSeek R1 7B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
        ("Hermes 3 3B", "NousResearch/Hermes-3-Llama-3.2-3B"),
        ("Granite 4 3B", "ibm-granite/granite-4.0-micro"),
        ("starcoder2-3b.Q4_K_M", "bigcode/starcoder2-3b"),
        ("tencent_Hunyuan-1.8B-Instruct", "tencent/Hunyuan-1.8B-Instruct"),
        ("NVIDIA-Nemotron-3-Nano-4B", "nvidia/NVIDIA-Nemotron-3-Nano-4B-BF16"),
        ("zai-org_GLM-4.7-Flash", "zai-org/GLM-4.7-Flash"),
        ("gpt-oss-20b", "openai/gpt-oss-20b"),
        ("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
    ],
)
def test_a_name_as_people_write_it_means_one_model(catalog: Catalog, text: str, model_id: str) -> None:
    assert catalog.find(text).id == model_id


@pytest.mark.parametrize("field", ["id", "name", "ollama"])
def test_every_model_is_found_by_its_own_names(catalog: Catalog, field: str) -> None:
    for model in catalog.models:
        name = getattr(model, field)
        if name is not None:
            assert catalog.find(name) is model
        for alias in model.aliases:
            assert catalog.find(alias) is model


@pytest.mark.parametrize(
    "text",
    [
        "Mistral-7B-v0.9",
        "Devstral-Small-2507",
        "glm-4-9b-chat",
        "Qwen3-Omni-30B-A3B-Instruct",
        "gemma-31b",
        "Llama",
    ],
)
def test_another_release_or_model_is_not_taken_for_one_of_the_catalog(catalog: Catalog, text: str) -> None:
    with pytest.raises(UnknownModelError, match=text):
        catalog.find(text)


def test_a_name_with_a_typing_error_gets_the_nearest_names(catalog: Catalog) -> None:
    with pytest.raises(UnknownModelError) as caught:
        catalog.find("Qwen2.5-7B-Instrct")
    assert "Qwen2.5-7B-Instruct" in caught.value.nearest


def test_a_family_alone_gets_its_models(catalog: Catalog) -> None:
    with pytest.raises(UnknownModelError) as caught:
        catalog.find("gemma-3")
    assert all(name.startswith("gemma-3") for name in caught.value.nearest)


def test_a_name_that_fits_models_of_different_sizes_is_refused() -> None:
    small, large = (
        Model(id=f"me/m-{release}", name=f"m-{release}", family="m", parameters=1, verified=False)
        for release in ("2501", "2502")
    )
    with pytest.raises(UnknownModelError, match="any of 2 models") as caught:
        Catalog([small, large]).find("m")
    assert set(caught.value.nearest) == {"m-2501", "m-2502"}


@pytest.mark.parametrize("text", ["", " ", ":", "/", "-", "\x00", "é" * 5000, "it", "instruct"])
def test_no_text_breaks_the_search(catalog: Catalog, text: str) -> None:
    with pytest.raises(UnknownModelError):
        catalog.find(text)


def test_a_missing_quantization_names_those_there_are(catalog: Catalog) -> None:
    with pytest.raises(UnknownModelError) as caught:
        catalog.find("Qwen3-4B").variant("Q9_K")
    assert "Q4_K_M" in caught.value.nearest


def test_a_digit_after_a_digit_keeps_its_separator() -> None:
    assert canonical("gemma-3-1b") != canonical("gemma-31b")
    assert canonical("Qwen 2.5 3B") == canonical("qwen2.5:3b") == canonical("Qwen2.5-3B")


@pytest.mark.parametrize(
    ("family", "wanted", "matches"),
    [
        ("Qwen3", "qwen", True),
        ("Qwen3", "Qwen3", True),
        ("Qwen3.5", "Qwen3", False),
        ("Qwen3-VL", "qwen3", True),
        ("Gemma 3", "gemma-3", True),
        ("Gemma 3", "gemma3", True),
        ("Gemma 3n", "gemma 3", True),
        ("Llama 3", "gemma", False),
        ("Llama 3", "", False),
    ],
)
def test_a_family_filter_takes_its_generations_and_not_the_next(
    family: str, wanted: str, matches: bool
) -> None:
    assert family_matches(family, (wanted,)) is matches
