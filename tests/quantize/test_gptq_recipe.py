"""GPTQ recipes and the checkpoints that follow from them: names, sizes, what is refused. All of it without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cli.main import exit_code
from quantize.errors import (
    GptqError,
    GptqMissingError,
    InvalidModelError,
    UnexpectedTensorsError,
    UnknownPresetError,
)
from quantize.gptq import plan_gptq
from quantize.gptq_checkpoint import (
    Shape,
    check_checkpoint,
    check_source,
    expected_tensors,
    matrices,
    total_bytes,
)
from quantize.gptq_recipe import BITS, GROUP_SIZES, GptqRecipe, is_gptq, parse_gptq, vllm_objection
from quantize.safetensors_header import SafetensorsTensor, Weights
from quantize.types import PRESETS
from tests.quantize.safetensors import header, write

ROOT = Path(__file__).parents[2]
PLAIN = parse_gptq("GPTQ-4bit-128g")

recipes = st.builds(GptqRecipe, st.sampled_from(BITS), st.sampled_from(GROUP_SIZES), st.booleans())


def weights(**shapes: tuple[int, ...]) -> Weights:
    """Weights of one block, by the end of their names, and an embedding."""
    named = {f"model.layers.0.{name.replace('__', '.')}": shape for name, shape in shapes.items()}
    return typed("BF16", named | {"model.embed_tokens.weight": (1000, 256)})


def typed(dtype: str, shapes: dict[str, tuple[int, ...]]) -> Weights:
    tensors = [SafetensorsTensor(name, dtype, shape, 0) for name, shape in shapes.items()]
    return Weights((), tuple(tensors))


BLOCK = weights(
    self_attn__q_proj__weight=(256, 256),
    self_attn__q_proj__bias=(256,),
    mlp__down_proj__weight=(256, 1024),
    input_layernorm__weight=(256,),
)


# --- names ----------------------------------------------------------------------------------------------------


@given(recipes)
def test_every_recipe_is_read_back_from_its_name(recipe: GptqRecipe) -> None:
    assert is_gptq(str(recipe))
    assert parse_gptq(str(recipe)) == recipe
    assert parse_gptq(str(recipe).lower().replace("-", "_")) == recipe


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("GPTQ-4bit-128g", GptqRecipe(4, 128)),
        ("GPTQ-8bit-32g-actorder", GptqRecipe(8, 32, act_order=True)),
        ("GPTQ-4bit", GptqRecipe(4, -1)),
        ("gptq_int4", GptqRecipe(4, -1)),
        ("GPTQ-Int4-128g", GptqRecipe(4, 128)),
        ("GPTQ-3bit-64g-act-order", GptqRecipe(3, 64, act_order=True)),
    ],
)
def test_usual_spellings_are_understood(text: str, recipe: GptqRecipe) -> None:
    assert parse_gptq(text) == recipe


@pytest.mark.parametrize(
    ("text", "words", "nearest"),
    [
        ("GPTQ-5bit-128g", "2, 3, 4 or 8 bits, not to 5", "GPTQ-4bit-128g"),
        ("GPTQ-Int16", "not to 16", "GPTQ-8bit"),
        ("GPTQ-4bit-100g", "16, 32, 64, 128, 256, 512 or 1024 weights, not 100", "GPTQ-4bit-128g"),
        ("GPTQ-8bit-31g-actorder", "not 31", "GPTQ-8bit-32g-actorder"),
        ("GPTQ", "write it like GPTQ-4bit-128g", "GPTQ-4bit-128g"),
        ("GPTQ-4bit-128g-fast", "write it like GPTQ-4bit-128g", "GPTQ-4bit-128g"),
    ],
)
def test_other_recipes_are_refused_with_what_is_allowed(text: str, words: str, nearest: str) -> None:
    with pytest.raises(UnknownPresetError) as refused:
        parse_gptq(text)
    assert words in str(refused.value)
    assert refused.value.nearest[0] == nearest
    assert exit_code(refused.value) == 2


def test_no_preset_of_the_engine_is_taken_for_a_recipe() -> None:
    assert not [name for name in PRESETS if is_gptq(name)]


@given(recipes)
def test_vllm_objects_to_bits_or_groups_and_says_which(recipe: GptqRecipe) -> None:
    objection = vllm_objection(recipe)
    assert (objection is None) == (recipe.bits in (4, 8) and recipe.group_size in (-1, 32, 64, 128))
    assert objection is None or str(recipe.bits) in objection or str(recipe.group_size) in objection


# --- sizes ----------------------------------------------------------------------------------------------------


def size(recipe: GptqRecipe, source: Weights = BLOCK) -> int:
    return total_bytes(expected_tensors(source, recipe, matrices(source), tied=False).values())


def test_a_matrix_becomes_four_tensors_and_the_rest_stays() -> None:
    found = expected_tensors(BLOCK, PLAIN, matrices(BLOCK), tied=False)
    assert found == {
        "model.layers.0.self_attn.q_proj.qweight": Shape("I32", (32, 256)),
        "model.layers.0.self_attn.q_proj.qzeros": Shape("I32", (2, 32)),
        "model.layers.0.self_attn.q_proj.scales": Shape("F16", (2, 256)),
        "model.layers.0.self_attn.q_proj.g_idx": Shape("I32", (256,)),
        "model.layers.0.self_attn.q_proj.bias": Shape("F16", (256,)),
        "model.layers.0.mlp.down_proj.qweight": Shape("I32", (128, 256)),
        "model.layers.0.mlp.down_proj.qzeros": Shape("I32", (8, 32)),
        "model.layers.0.mlp.down_proj.scales": Shape("F16", (8, 256)),
        "model.layers.0.mlp.down_proj.g_idx": Shape("I32", (1024,)),
        "model.layers.0.input_layernorm.weight": Shape("BF16", (256,)),
        "model.embed_tokens.weight": Shape("BF16", (1000, 256)),
    }


@given(recipes, st.sampled_from(BITS))
def test_more_bits_are_never_smaller(recipe: GptqRecipe, bits: int) -> None:
    other = msgspec.structs.replace(recipe, bits=bits)
    assert (size(other) > size(recipe)) == (bits > recipe.bits)


@given(st.sampled_from(BITS), st.sampled_from([16, 32, 64, 128]))
def test_smaller_groups_are_larger_files_and_one_scale_a_row_the_smallest(bits: int, group_size: int) -> None:
    assert (
        size(GptqRecipe(bits, group_size))
        > size(GptqRecipe(bits, 2 * group_size))
        > size(GptqRecipe(bits, -1))
    )


def test_a_head_that_is_the_embedding_is_kept_once() -> None:
    source = Weights((), (*BLOCK.tensors, SafetensorsTensor("lm_head.weight", "BF16", (1000, 256), 0)))
    kept, shared = (
        expected_tensors(source, PLAIN, matrices(source), tied=tied).keys() for tied in (False, True)
    )
    assert kept - shared == {"lm_head.weight"}


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            weights(mlp__up_proj__weight=(256, 576)),
            r"up_proj has rows of 576 weights, no multiple of 128.*GPTQ-4bit-64g$",
        ),
        (weights(mlp__up_proj__weight=(100, 256)), "100 x 256 weights; GPTQ packs multiples of 32"),
        (weights(mlp__experts__3__up_proj__weight=(256, 256)), "mixture of experts"),
        (typed("F8_E4M3", {"model.layers.0.mlp.up_proj.weight": (256, 256)}), "holds F8_E4M3"),
        (typed("F16", {"wte.weight": (256, 256)}), "no weight matrices in numbered blocks"),
    ],
)
def test_weights_that_cannot_be_packed_are_refused_with_what_would_do(source: Weights, words: str) -> None:
    with pytest.raises(GptqError, match=words) as refused:
        check_source(Path("model"), source, PLAIN)
    assert exit_code(refused.value) == 2


def test_one_scale_a_row_fits_every_row() -> None:
    check_source(Path("model"), weights(mlp__up_proj__weight=(256, 576)), parse_gptq("GPTQ-4bit"))


def folder(path: Path, config: str = '{"model_type": "llama"}') -> Path:
    path.mkdir()
    shapes = {tensor.name: (tensor.dtype, tensor.shape) for tensor in BLOCK.tensors}
    write(path / "model.safetensors", header(shapes))
    (path / "config.json").write_text(config)
    return path


def test_a_plan_comes_from_headers_alone(tmp_path: Path) -> None:
    """Everything a build takes is known before torch is loaded."""
    model = folder(tmp_path / "model")
    plan = plan_gptq(model, PLAIN)
    assert plan.checkpoint_bytes == size(PLAIN)
    assert plan.modules == 2
    assert plan.disk_bytes > plan.checkpoint_bytes
    assert plan_gptq(model, PLAIN, samples=1000).memory_bytes > plan.memory_bytes
    assert plan_gptq(model, PLAIN, samples=1000).seconds > plan.seconds


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        ('{"quantization_config": {"bits": 4}}', GptqError, "quantized already"),
        ("[]", InvalidModelError, "does not hold an object"),
        ("{", InvalidModelError, "is damaged"),
    ],
)
def test_a_folder_that_is_no_source_is_refused(
    tmp_path: Path, config: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        plan_gptq(folder(tmp_path / "model", config), PLAIN)


def test_a_checkpoint_that_is_not_what_was_ordered_is_found_out(tmp_path: Path) -> None:
    """One tensor of another shape, and the message names it."""
    ordered = expected_tensors(BLOCK, PLAIN, matrices(BLOCK), tied=False)
    got = dict(ordered) | {"model.layers.0.mlp.down_proj.scales": Shape("F16", (4, 256))}
    built = Weights((), tuple(SafetensorsTensor(name, s.dtype, s.shape, s.bytes) for name, s in got.items()))
    with pytest.raises(
        UnexpectedTensorsError, match=r"down_proj\.scales should be F16 8 x 256 and is F16 4 x 256"
    ) as refused:
        check_checkpoint(tmp_path, built, ordered, PLAIN)
    assert exit_code(refused.value) == 3


# --- without the extra ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["gptqmodel", "optimum"])
def test_without_the_extra_the_message_says_how_to_install_it(missing: str, tmp_path: Path) -> None:
    """Exit code 5, before anything is read or written, and with the commands to copy."""
    site = tmp_path / "site"
    site.mkdir()
    for path in Path(msgspec.__file__).parents[1].iterdir():
        if not path.name.lower().startswith(missing):
            (site / path.name).symlink_to(path)
    code = (
        "import sys; from pathlib import Path; from quantize.gptq import *; from quantize.errors import *\n"
        "from advisor.cli.main import exit_code\n"
        "try: quantize_gptq(Path('absent'), Path('out'), GptqRecipe(4), Path('absent.txt'))\n"
        "except GptqMissingError as error: print(error); sys.exit(exit_code(error))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "pip install torch && pip install 'slm-advisor[gptq]'" in done.stdout
    assert not (tmp_path / "out").exists()


def test_the_missing_extra_is_a_missing_component() -> None:
    assert exit_code(GptqMissingError("")) == 5


def test_asking_for_gptq_loads_no_torch() -> None:
    """What plans, starts and watches a build must survive what runs in it."""
    code = (
        "import sys; import quantize.gptq, quantize.gptq_fidelity; quantize.gptq.find_gptq()\n"
        "sys.exit(bool({'torch', 'gptqmodel', 'transformers', 'safetensors', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
