"""What the shipped catalog promises: which models, how sure, how large."""

from __future__ import annotations

import hashlib

import pytest

from advisor.catalog import CATALOG_FOLDER, Catalog, Model, catalog_version, read_index
from advisor.catalog_check import check_file
from advisor.catalog_file import Entry
from quantize.architecture import parameter_count, tensors
from quantize.types import PRESETS


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    """Every model as the families' files state it, by id."""
    found = {}
    for path in sorted(CATALOG_FOLDER.glob("*.toml")):
        family, problems = check_file(path)
        assert family is not None, [str(problem) for problem in problems]
        found |= {entry.id: entry for entry in family.model}
    return found


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    index = read_index()
    return Catalog(index.complete_models(), index.sources)


def runnable(catalog: Catalog) -> list[Model]:
    return [model for model in catalog.models if model.runnable]


def test_the_index_is_made_from_the_files_that_lie_beside_it() -> None:
    now = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in CATALOG_FOLDER.glob("*.toml")}
    assert read_index().files == now, "run 'make catalog'"


def test_the_version_is_read_without_the_index_and_is_the_indexs_own() -> None:
    assert catalog_version() == read_index().catalog_version


def test_two_hundred_models_and_more_have_verified_dimensions(catalog: Catalog) -> None:
    assert sum(model.verified for model in catalog.models) >= 200


@pytest.mark.parametrize(
    "name",
    [
        # The list of models that must be there, whatever else is.
        *("Phi-3.5-mini", "Phi-4", "Phi-4-mini", "gemma-2-2b", "gemma-2-9b", "gemma-3-270m", "gemma-3-1b"),
        *("gemma-3-4b", "gemma-3-12b", "gemma-3n-E2B", "gemma-3n-E4B", "gemma-4-E2B", "gemma-4-12B"),
        *("Llama-3.1-8B", "Llama-3.2-1B", "Llama-3.2-3B", "Llama-2-7B", "Mistral-7B-v0.3", "Mistral-Nemo-12B"),
        *("Mistral-Small-24B", "Ministral-8B", "Ministral-3-3B", "Qwen2-0.5B", "Qwen2-1.5B", "Qwen2-7B"),
        *("Qwen2.5-0.5B", "Qwen2.5-1.5B", "Qwen2.5-3B", "Qwen2.5-7B", "Qwen2.5-14B", "Qwen2.5-Coder-0.5B"),
        *("Qwen2.5-Coder-1.5B", "Qwen2.5-Coder-3B", "Qwen2.5-Coder-7B", "Qwen2.5-Coder-14B", "Qwen3-0.6B"),
        *("Qwen3-1.7B", "Qwen3-4B", "Qwen3-8B", "Qwen3-14B", "Qwen3-30B-A3B", "Qwen3.5-0.8B", "Qwen3.5-2B"),
        *("Qwen3.5-4B", "Qwen3.5-9B", "pythia-14m", "pythia-31m", "pythia-70m", "pythia-160m", "pythia-410m"),
        *("pythia-1b", "pythia-1.4b", "pythia-2.8b", "pythia-6.9b", "pythia-12b", "granite-3.1-2b"),
        *("granite-3.3-8b", "granite-4.0-350m", "granite-4.0-h-tiny", "MobileLLM-125M", "MobileLLM-1.5B"),
        *("MobileLLM-R1-140M", "MobileLLM-R1-950M", "SmolLM2-135M", "SmolLM2-360M", "SmolLM2-1.7B"),
        *("SmolLM3-3B", "TinyLlama-1.1B", "LFM2-350M", "LFM2-1.2B", "OLMo-2-1B", "OLMo-2-7B", "Falcon3-1B"),
        *("Falcon3-7B", "EXAONE-3.5-2.4B", "EXAONE-4.0-1.2B", "DeepSeek-R1-Distill-Qwen-1.5B"),
        *("DeepSeek-R1-Distill-Llama-8B", "gpt-oss-20b", "sarashina2.2-3b", "Llama-3.1-Swallow-8B"),
        *("TinySwallow-1.5B", "llm-jp-3.1-1.8b", "llm-jp-4-8b", "Llama-3-ELYZA-JP-8B"),
    ],
)  # fmt: skip
def test_a_model_that_must_be_there_is_found(catalog: Catalog, name: str) -> None:
    assert catalog.find(name).parameters > 0


def test_the_tensors_of_every_verified_model_add_up_to_its_published_parameters(
    entries: dict[str, Entry],
) -> None:
    verified = [entry for entry in entries.values() if entry.verified]
    assert verified
    for entry in verified:
        assert entry.architecture is not None
        counted = parameter_count(entry.architecture)
        tolerance = 0 if entry.parameters_check == "exact" else 0.005 * entry.parameters
        assert abs(counted - entry.parameters) <= tolerance, entry.id


def test_a_model_that_llama_cpp_cannot_run_says_why_and_has_no_sizes(catalog: Catalog) -> None:
    unable = [model for model in catalog.models if not model.runnable]
    assert unable
    for model in unable:
        assert model.unsupported, model.id
        assert not model.variants, model.id


def test_every_model_that_runs_has_every_preset(catalog: Catalog) -> None:
    for model in runnable(catalog):
        wanted = {preset.name for preset in PRESETS.values() if not preset.experts_only}
        assert wanted <= {variant.quant for variant in model.variants}, model.id


def test_mixtures_of_experts_and_only_they_come_as_mxfp4(catalog: Catalog) -> None:
    for model in runnable(catalog):
        assert model.architecture is not None
        has = any(variant.quant == "MXFP4" for variant in model.variants)
        assert has == (model.architecture.moe is not None), model.id


# GiB of tensors as llama-bench prints them, from the sources in the measurements table.
PUBLISHED_GIB = {
    ("Llama-2-7B", "F16"): 12.55,
    ("Llama-2-7B", "Q4_0"): 3.56,
    ("Llama-2-7B", "Q8_0"): 6.67,
    ("Llama-3.1-8B", "BF16"): 14.96,
    ("Llama-3.1-8B", "Q6_K"): 6.14,
    ("Llama-3.1-8B", "Q4_K_M"): 4.58,
    ("Llama-3.1-8B", "IQ3_S"): 3.42,
    ("Llama-3.1-8B", "IQ2_XXS"): 2.23,
    ("Llama-3.2-1B", "F16"): 2.30,
    ("Llama-3.2-3B", "Q4_K_M"): 1.87,
    ("Mistral-Nemo-12B", "Q4_K_M"): 6.96,
    ("Phi-3.5-mini", "Q8_0"): 3.78,
    ("phi-4", "Q4_K_M"): 8.43,
    ("Qwen2.5-7B", "Q4_K_M"): 4.36,
    ("Qwen2.5-14B", "Q4_K_M"): 8.37,
    ("Qwen3-8B", "Q8_0"): 8.11,
    ("gemma-2-2b", "Q4_K_M"): 1.59,
    ("gemma-3-4b", "Q4_K_M"): 2.31,
    ("LFM2.5-2.6B", "Q4_K_M"): 1.55,
    ("DeepSeek-R1-Distill-Qwen-1.5B", "Q5_K_M"): 1.192,
}


@pytest.mark.parametrize(("name", "quant"), PUBLISHED_GIB)
def test_sizes_are_those_that_people_saw_on_their_machines(catalog: Catalog, name: str, quant: str) -> None:
    tensors_gib = catalog.find(name).variant(quant).tensor_bytes / 2**30
    assert tensors_gib == pytest.approx(PUBLISHED_GIB[name, quant], rel=0.004)


def test_the_tokenizers_share_of_a_file_is_close_to_a_published_file(catalog: Catalog) -> None:
    # Qwen2.5-7B-Instruct-Q4_K_M.gguf on the Hub: 4,683,073,536 bytes.
    assert catalog.find("Qwen2.5-7B").variant("Q4_K_M").file_bytes == pytest.approx(4_683_073_536, rel=1e-4)


def test_every_byte_of_a_variant_is_of_some_type_and_no_token_reads_a_type_that_is_not_there(
    catalog: Catalog,
) -> None:
    for model in runnable(catalog):
        for variant in model.variants:
            assert sum(variant.bytes_by_type.values()) == variant.tensor_bytes, (model.id, variant.quant)
            assert variant.file_bytes > variant.tensor_bytes
            assert set(variant.read_bytes_by_type) <= set(variant.bytes_by_type)


def test_the_parts_of_a_variant_fill_the_file(catalog: Catalog) -> None:
    for model in runnable(catalog):
        arch = model.architecture
        assert arch is not None
        head = any(tensor.name == "output.weight" for tensor in tensors(arch))
        for variant in model.variants:
            parts = variant.embedding_bytes + variant.layer_bytes + (variant.output_bytes if head else 0)
            assert parts <= variant.tensor_bytes
            # What is left are blocks that the engine does not run: multi-token prediction.
            assert parts >= (0.8 if arch.n_layer_nextn else 0.995) * variant.tensor_bytes, model.id


def test_a_smaller_label_is_never_a_larger_file(catalog: Catalog) -> None:
    order = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"]
    for model in runnable(catalog):
        sizes = [model.variant(quant).tensor_bytes for quant in order]
        assert sizes == sorted(sizes, reverse=True), model.id


def test_every_known_fact_has_a_source_that_the_catalog_spells_out(catalog: Catalog) -> None:
    facts = (
        "parameters",
        "license",
        "gated",
        "languages",
        "context_length",
        "release_date",
        "ollama",
        "tasks",
    )
    for model in catalog.models:
        for fact in facts:
            if getattr(model, fact) not in (None, ()):
                assert catalog.sources[model.sources[fact]], (model.id, fact)


def test_names_are_unique_so_that_model_and_quant_mean_one_file(catalog: Catalog) -> None:
    names = [model.name.lower() for model in catalog.models]
    assert len(names) == len(set(names))
    assert not any(":" in name for name in names)


@pytest.mark.parametrize(
    ("name", "license_class"),
    [
        ("Qwen3-8B", "permissive"),
        ("phi-4", "permissive"),
        ("Llama-3.1-8B", "conditional"),
        ("gemma-3-4b", "conditional"),
        ("gemma-4-E2B", "permissive"),
        ("Qwen2.5-3B", "non-commercial"),
        ("Ministral-8B", "non-commercial"),
        ("EXAONE-3.5-2.4B", "non-commercial"),
        ("aya-expanse-8b", "non-commercial"),
    ],
)
def test_licences_are_sorted_by_what_they_allow(catalog: Catalog, name: str, license_class: str) -> None:
    assert catalog.find(name).license_class == license_class


@pytest.mark.parametrize(
    "name", ["Qwen3-4B", "gemma-3-4b", "sarashina2.2-1b", "Llama-3-ELYZA-JP-8B", "LFM2-1.2B"]
)
def test_models_made_for_japanese_say_so(catalog: Catalog, name: str) -> None:
    assert "ja" in (catalog.find(name).languages or ())


@pytest.mark.parametrize(
    ("name", "task", "made_for"),
    [
        ("Qwen2.5-Coder-7B", "coding", True),
        ("Qwen2.5-Coder-7B", "chat", False),
        ("LFM2-350M-ENJP-MT", "translate", True),
        ("LFM2-350M-ENJP-MT", "chat", False),
        ("DeepSeek-R1-Distill-Qwen-7B", "reasoning", True),
        ("DeepSeek-R1-Distill-Qwen-7B", "voice", False),
        ("pythia-1b", "general", True),
        ("pythia-1b", "chat", False),
        ("gemma-3-1b", "voice", True),
        ("gemma-3-27b", "voice", False),
        ("Qwen3-8B", "agent", True),
    ],
)
def test_models_are_for_what_they_were_made_for(
    catalog: Catalog, name: str, task: str, made_for: bool
) -> None:
    assert (task in catalog.find(name).tasks) is made_for


@pytest.mark.engine
def test_the_shipped_sizes_are_what_the_engine_says_today(catalog: Catalog) -> None:
    pytest.importorskip("llama_cpp")
    from advisor.sizes import variants_of

    for name in ("SmolLM2-135M", "gemma-3-270m", "granite-4.0-h-350m"):
        model = catalog.find(name)
        assert model.architecture is not None
        assert variants_of(model.architecture) == model.variants
