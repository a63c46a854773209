"""Which files of a repository are taken, on repositories as people really lay them out.

File names are those of the repositories; lists are shortened, and sizes are rounded.
"""

from __future__ import annotations

import pytest

from quantize.sources.choose import Choice, choose_gguf, choose_safetensors, tag_of
from quantize.sources.source import SourceFile

MB, GB = 10**6, 10**9

UNSLOTH_SPLIT = {
    "BF16/Qwen3.8-27B-BF16-00001-of-00002.gguf": 49_986_159_616,
    "BF16/Qwen3.8-27B-BF16-00002-of-00002.gguf": 4_671_576_000,
    "MTP/mtp-Qwen3.8-27B-Q4_0.gguf": 1_369_590_656,
    "Qwen3.8-27B-Q4_0.gguf": 16_056_478_688,
    "Qwen3.8-27B-Q8_0.gguf": 29_047_086_048,
    "Qwen3.8-27B-UD-IQ4_XS.gguf": 14_252_845_984,
    "Qwen3.8-27B-UD-Q4_K_M.gguf": 16_464_440_224,
    "Qwen3.8-27B-UD-Q6_K.gguf": 21_983_677_344,
    "imatrix_unsloth.gguf": 13_642_656,
    "mmproj-BF16.gguf": 931_146_432,
    "mmproj-F16.gguf": 927_607_488,
    "mmproj-F32.gguf": 1_840_000_000,
}
UNSLOTH_SMALL = {
    "Qwen3-0.6B-BF16.gguf": 1198 * MB,
    "Qwen3-0.6B-IQ4_NL.gguf": 382 * MB,
    "Qwen3-0.6B-IQ4_XS.gguf": 366 * MB,
    "Qwen3-0.6B-Q4_0.gguf": 382 * MB,
    "Qwen3-0.6B-Q4_K_M.gguf": 397 * MB,
    "Qwen3-0.6B-Q4_K_S.gguf": 383 * MB,
    "Qwen3-0.6B-UD-Q4_K_XL.gguf": 406 * MB,
    "Qwen3-0.6B-UD-Q8_K_XL.gguf": 844 * MB,
    "imatrix_unsloth.dat": 1 * MB,
}
BARTOWSKI = {
    "Meta-Llama-3.1-8B-Instruct-IQ4_XS.gguf": 4450 * MB,
    "Meta-Llama-3.1-8B-Instruct-Q4_K_L.gguf": 5310 * MB,
    "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf": 4920 * MB,
    "Meta-Llama-3.1-8B-Instruct-Q4_0_4_4.gguf": 4660 * MB,
    "Meta-Llama-3.1-8B-Instruct-Q6_K_L.gguf": 6850 * MB,
    "Meta-Llama-3.1-8B-Instruct-f32.gguf": 32130 * MB,
    "Meta-Llama-3.1-8B-Instruct.imatrix": 5 * MB,
}
BARTOWSKI_SPLIT = {
    "google_gemma-3-27b-it-Q4_K_M.gguf": 16550 * MB,
    "google_gemma-3-27b-it-bf16/google_gemma-3-27b-it-bf16-00001-of-00002.gguf": 39_900 * MB,
    "google_gemma-3-27b-it-bf16/google_gemma-3-27b-it-bf16-00002-of-00002.gguf": 14_130 * MB,
    "mmproj-google_gemma-3-27b-it-bf16.gguf": 858 * MB,
    "mmproj-google_gemma-3-27b-it-f16.gguf": 858 * MB,
    "google_gemma-3-27b-it-imatrix.gguf": 14 * MB,
}
MRADERMACHER = {
    "Yi-1.5-6B-Chat.IQ4_XS.gguf": 3360 * MB,
    "Yi-1.5-6B-Chat.Q4_K_M.gguf": 3670 * MB,
    "Yi-1.5-6B-Chat.Q8_0.gguf": 6440 * MB,
    "Yi-1.5-6B-Chat.f16.gguf": 12120 * MB,
}
MRADERMACHER_IMATRIX = {
    "Model.i1-IQ3_M.gguf": GB,
    "Model.i1-Q4_K_M.gguf": 2 * GB,
    "Model.imatrix.gguf": 5 * MB,
}
MRADERMACHER_PIECES = {"Big.Q8_0.gguf.part1of2": 40 * GB, "Big.Q8_0.gguf.part2of2": 34 * GB}
QWEN = {
    "qwen2.5-0.5b-instruct-fp16.gguf": 1_266_425_696,
    "qwen2.5-0.5b-instruct-q2_k.gguf": 415 * MB,
    "qwen2.5-0.5b-instruct-q4_0.gguf": 429 * MB,
    "qwen2.5-0.5b-instruct-q4_k_m.gguf": 491 * MB,
    "qwen2.5-0.5b-instruct-q8_0.gguf": 675_710_816,
}
QWEN_SPLIT = {
    **{f"qwen2.5-7b-instruct-fp16-0000{n}-of-00004.gguf": 3810 * MB for n in (1, 2, 3, 4)},
    **{f"qwen2.5-7b-instruct-q4_k_m-0000{n}-of-00002.gguf": 2340 * MB for n in (1, 2)},
}
GGML_ORG = {
    "gemma-3-4b-it-Q4_K_M.gguf": 2490 * MB,
    "gemma-3-4b-it-Q8_0.gguf": 4130 * MB,
    "gemma-3-4b-it-f16.gguf": 7767 * MB,
    "mmproj-model-f16.gguf": 851 * MB,
}
MICROSOFT = {"Phi-3-mini-4k-instruct-fp16.gguf": 7643 * MB, "Phi-3-mini-4k-instruct-q4.gguf": 2393 * MB}
MICROSOFT_PHI4 = {"phi-4-Q4_K.gguf": 9053 * MB, "phi-4-Q4_K_S.gguf": 8441 * MB, "phi-4-bf16.gguf": 29323 * MB}
GOOGLE_QAT = {"gemma-3-4b-it-q4_0.gguf": 3155 * MB, "mmproj-model-f16-4B.gguf": 851 * MB}
GOOGLE_GEMMA_4 = {"gemma-4-E2B_q4_0-it.gguf": 3_349_516_256, "gemma-4-E2B-it-mmproj.gguf": 986_833_664}
GOOGLE_OLD = {"2b_it_v2.gguf": 10460 * MB}
LM_STUDIO = {
    "gemma-3-1b-it-Q3_K_L.gguf": 752 * MB,
    "gemma-3-1b-it-Q4_K_M.gguf": 806 * MB,
    "gemma-3-1b-it-Q8_0.gguf": 1070 * MB,
    "gemma-3-1b-it-BF16.gguf": 2007 * MB,
}
TAGS_IN_FOLDERS = {f"{tag}/model-0000{n}-of-00002.gguf": GB for tag in ("BF16", "Q8_0") for n in (1, 2)}
SEVERAL_MODELS = {"small-f16.gguf": GB, "large-f16.gguf": 7 * GB}
COPIES = {
    "Model-BF16.gguf": 2 * GB,
    "BF16/Model-BF16-00001-of-00002.gguf": GB,
    "BF16/Model-BF16-00002-of-00002.gguf": GB,
}
THINKING_TOO = {"Model-1B-f16.gguf": 2 * GB, "Model-1B-thinking-f16.gguf": 2 * GB + 200 * MB}


def files(listing: dict[str, int]) -> list[SourceFile]:
    listed = {**listing, "README.md": 5000, ".gitattributes": 2000}
    return [SourceFile(name=name, bytes=size, git_oid="0" * 40) for name, size in listed.items()]


def names(choice: Choice | str) -> list[str] | str:
    return choice if isinstance(choice, str) else [file.name for file in choice.files]


@pytest.mark.parametrize(
    ("repository", "listing", "parameters", "expected"),
    [
        ("unsloth/Qwen3.8-27B-GGUF", UNSLOTH_SPLIT, 27_300_000_000, list(UNSLOTH_SPLIT)[:2]),
        ("unsloth/Qwen3-0.6B-GGUF", UNSLOTH_SMALL, 596_049_920, ["Qwen3-0.6B-BF16.gguf"]),
        ("bartowski/google_gemma-3-27b-it-GGUF", BARTOWSKI_SPLIT, 27_000_000_000, list(BARTOWSKI_SPLIT)[1:3]),
        ("mradermacher/Yi-1.5-6B-Chat-GGUF", MRADERMACHER, 6_060_000_000, ["Yi-1.5-6B-Chat.f16.gguf"]),
        ("Qwen/Qwen2.5-0.5B-Instruct-GGUF", QWEN, 494_032_768, ["qwen2.5-0.5b-instruct-fp16.gguf"]),
        ("Qwen/Qwen2.5-7B-Instruct-GGUF", QWEN_SPLIT, 7_615_616_512, list(QWEN_SPLIT)[:4]),
        ("ggml-org/gemma-3-4b-it-GGUF", GGML_ORG, 3_880_099_328, ["gemma-3-4b-it-f16.gguf"]),
        ("microsoft/Phi-3-mini-4k-instruct-gguf", MICROSOFT, 3_821_079_552, ["Phi-3-mini-4k-instruct-fp16.gguf"]),
        ("microsoft/phi-4-gguf", MICROSOFT_PHI4, 14_659_507_200, ["phi-4-bf16.gguf"]),
        ("lmstudio-community/gemma-3-1b-it-GGUF", LM_STUDIO, 999_885_952, ["gemma-3-1b-it-BF16.gguf"]),
        ("somebody/Model-GGUF", TAGS_IN_FOLDERS, None, list(TAGS_IN_FOLDERS)[:2]),
        ("somebody/Model-GGUF", COPIES, None, ["Model-BF16.gguf"]),
        ("somebody/Model-1B-GGUF", THINKING_TOO, None, ["Model-1B-f16.gguf"]),
        ("somebody/Models-GGUF", SEVERAL_MODELS, 3_500_000_000, ["large-f16.gguf"]),
        ("somebody/Models-GGUF", SEVERAL_MODELS, None, "has several F16 GGUFs of different models"),
        ("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", BARTOWSKI, None, "has no BF16 or F16 GGUF"),
        ("mradermacher/Model-i1-GGUF", MRADERMACHER_IMATRIX, None, "has no BF16 or F16 GGUF"),
        ("google/gemma-2-2b-it-GGUF", GOOGLE_OLD, None, "has no BF16 or F16 GGUF"),
        ("google/gemma-3-4b-it-qat-q4_0-gguf", GOOGLE_QAT, None, "has no BF16 or F16 GGUF"),
        ("unsloth/Qwen3-0.6B-GGUF", UNSLOTH_SMALL, 4_000_000_000, "has the size of another model"),
        ("somebody/Big-GGUF", {"Big-BF16.gguf": 60 * GB}, None, "is larger than 50 GB"),
        ("somebody/Half-GGUF", {"Half-BF16-00001-of-00002.gguf": GB}, None, "has no BF16 or F16 GGUF"),
        ("somebody/Nothing-GGUF", {"Nothing-BF16.gguf": 0}, None, "has no BF16 or F16 GGUF"),
    ],
)  # fmt: skip
def test_the_full_precision_gguf_of_a_repository(
    repository: str, listing: dict[str, int], parameters: int | None, expected: list[str] | str
) -> None:
    """Its parts in order, or the reason why there is none."""
    found = names(choose_gguf(repository, files(listing), ("BF16", "F16"), parameters=parameters))
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert found == expected


def test_f32_is_found_where_it_is_asked_for() -> None:
    found = choose_gguf("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", files(BARTOWSKI), ("F32",))
    assert names(found) == ["Meta-Llama-3.1-8B-Instruct-f32.gguf"]


@pytest.mark.parametrize(
    ("listing", "preset", "expected"),
    [
        (UNSLOTH_SMALL, "Q4_K_M", ["Qwen3-0.6B-Q4_K_M.gguf"]),
        (UNSLOTH_SMALL, "IQ4_XS", ["Qwen3-0.6B-IQ4_XS.gguf"]),
        (UNSLOTH_SPLIT, "Q4_0", ["Qwen3.8-27B-Q4_0.gguf"]),
        (UNSLOTH_SPLIT, "Q4_K_M", "has no Q4_K_M GGUF"),  # only Unsloth's own mixture of that name
        (UNSLOTH_SPLIT, "Q6_K", "has no Q6_K GGUF"),
        (BARTOWSKI, "Q4_K_M", ["Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"]),
        (BARTOWSKI, "Q6_K", "has no Q6_K GGUF"),  # "Q6_K_L" has other embeddings
        (BARTOWSKI, "Q4_0", "has no Q4_0 GGUF"),  # "Q4_0_4_4" is laid out for one kind of processor
        (MRADERMACHER, "Q8_0", ["Yi-1.5-6B-Chat.Q8_0.gguf"]),
        (MRADERMACHER_IMATRIX, "Q4_K_M", ["Model.i1-Q4_K_M.gguf"]),
        (MRADERMACHER_PIECES, "Q8_0", "has no Q8_0 GGUF"),  # pieces to be joined first
        (QWEN, "Q4_K_M", ["qwen2.5-0.5b-instruct-q4_k_m.gguf"]),
        (QWEN_SPLIT, "Q4_K_M", list(QWEN_SPLIT)[4:]),
        (MICROSOFT_PHI4, "Q4_K_M", ["phi-4-Q4_K.gguf"]),
        (MICROSOFT, "Q4_K_M", "has no Q4_K_M GGUF"),  # "q4" does not say which
        (GGML_ORG, "F16", ["gemma-3-4b-it-f16.gguf"]),
        (TAGS_IN_FOLDERS, "Q8_0", list(TAGS_IN_FOLDERS)[2:]),
    ],
)
def test_the_published_gguf_of_a_preset(
    listing: dict[str, int], preset: str, expected: list[str] | str
) -> None:
    found = names(choose_gguf("somebody/Model-GGUF", files(listing), (preset,)))
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("repository", "model", "listing", "name"),
    [
        (
            "google/gemma-3-4b-it-qat-q4_0-gguf",
            "google/gemma-3-4b-it",
            GOOGLE_QAT,
            "gemma-3-4b-it-q4_0.gguf",
        ),
        (
            "google/gemma-4-E2B-it-qat-q4_0-gguf",
            "google/gemma-4-E2B-it",
            GOOGLE_GEMMA_4,
            "gemma-4-E2B_q4_0-it.gguf",
        ),
    ],
)
def test_what_its_maker_trained_for_a_quantization_is_ready_in_it(
    repository: str, model: str, listing: dict[str, int], name: str
) -> None:
    assert names(choose_gguf(repository, files(listing), ("Q4_0",), model=model)) == [name]


def test_weights_that_were_trained_for_a_quantization_are_not_the_model_at_full_precision() -> None:
    """They are other weights, unless they are the model that is meant."""
    listing = files({"gemma-3-4b-it-qat-BF16.gguf": 8 * GB})
    repository = "unsloth/gemma-3-4b-it-qat-GGUF"
    found = choose_gguf(repository, listing, ("BF16",), model="google/gemma-3-4b-it")
    assert found == f"{repository} holds weights that were trained again for a quantization"
    own = choose_gguf(repository, listing, ("BF16",), model="google/gemma-3-4b-it-qat")
    assert names(own) == ["gemma-3-4b-it-qat-BF16.gguf"]


@pytest.mark.parametrize(
    ("stem", "tag"),
    [
        ("x-F16", "F16"), ("x.fp16", "F16"), ("x_bf16", "BF16"), ("x-fp32", "F32"), ("f16", "F16"),
        ("x-q4_k_m", "Q4_K_M"), ("x-Q8", "Q8_0"), ("x-mxfp4", "MXFP4"), ("x-MXFP4_MOE", "MXFP4"),
        ("x-UD-Q4_K_XL", None), ("x-UD-Q4_K_M", None), ("x-Q3_K_XL", None), ("x-Q4_K_P", None),
        ("x", None), ("x-v2", None), ("xF16", None), ("BF16/x", "BF16"), ("Q4_K_M/x-BF16", "BF16"),
    ],
)  # fmt: skip
def test_the_end_of_a_name_says_its_precision_or_preset(stem: str, tag: str | None) -> None:
    assert tag_of(stem) == tag


COMPANIONS = {"config.json": 700, "tokenizer.json": 7 * MB, "tokenizer_config.json": 5000, "LICENSE": 11000}
LLAMA = {
    **COMPANIONS,
    **{f"model-0000{n}-of-00004.safetensors": 4 * GB for n in (1, 2, 3, 4)},
    "model.safetensors.index.json": 24000,
    "original/consolidated.00.pth": 16 * GB,
    "original/params.json": 200,
    "original/tokenizer.model": 2 * MB,
    "USE_POLICY.md": 5000,
}
MISTRAL = {
    **COMPANIONS,
    "consolidated.safetensors": 14 * GB,
    "params.json": 200,
    **{f"model-0000{n}-of-00003.safetensors": 5 * GB for n in (1, 2, 3)},
    "model.safetensors.index.json": 24000,
    "tokenizer.model.v3": MB,
}
QWEN_35 = {
    **COMPANIONS,
    **{f"model.safetensors-0000{n}-of-00002.safetensors": 4 * GB for n in (1, 2)},
    "model.safetensors.index.json": 24000,
    "vocab.json": 3 * MB,
    "merges.txt": MB,
    "chat_template.jinja": 4000,
}
SMOLLM = {
    **COMPANIONS,
    "model.safetensors": 269 * MB,
    "onnx/model.onnx": 500 * MB,
    "runs/events.out.tfevents": 9000,
    "training_args.bin": 5000,
}
PYTHIA = {
    **COMPANIONS,
    "model.safetensors": 375 * MB,
    "pytorch_model.bin": 375 * MB,
    "model.fp16.safetensors": GB,
}


@pytest.mark.parametrize(
    ("listing", "left_out"),
    [
        (LLAMA, {"original/consolidated.00.pth", "original/params.json", "original/tokenizer.model"}),
        (MISTRAL, {"consolidated.safetensors", "params.json"}),
        (QWEN_35, set()),
        (SMOLLM, {"onnx/model.onnx", "runs/events.out.tfevents", "training_args.bin"}),
        (PYTHIA, {"pytorch_model.bin", "model.fp16.safetensors"}),
    ],
)
def test_the_safetensors_of_a_repository_come_once_and_with_what_converting_needs(
    listing: dict[str, int], left_out: set[str]
) -> None:
    found = choose_safetensors("maker/model", files(listing))
    assert isinstance(found, Choice)
    assert {file.name for file in found.files} == set(listing) - left_out


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        ({"model.safetensors": GB}, "has no config.json"),
        ({**COMPANIONS, "pytorch_model.bin": GB}, "has no safetensors"),
        (
            {**COMPANIONS, "model-00001-of-00002.safetensors": GB},
            "has an incomplete set of safetensors",
        ),
        ({**COMPANIONS, "model.safetensors": 60 * GB}, "is larger than 50 GB"),
        ({**COMPANIONS, "adapter_model.safetensors": MB}, "has no safetensors"),
    ],
)
def test_a_repository_without_usable_safetensors_says_why(listing: dict[str, int], reason: str) -> None:
    found = choose_safetensors("maker/model", files(listing))
    assert isinstance(found, str)
    assert reason in found
