"""What `slm-advisor build` builds: a model and a variant of the catalog as an order for `quantize.build`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from advisor.catalog import Model
from advisor.errors import InvalidInputError, NotEnoughEvidenceError
from advisor.sizes import SizesError, tensor_types
from profiles.engine.client import Engine
from profiles.throughput import require
from quantize.architecture import tensors
from quantize.build import Order
from quantize.build_gptq import GptqOrder
from quantize.errors import SourceError
from quantize.gguf import RESIZED_BY_IMATRIX, WITHOUT_IMATRIX, ExpectedTensor, Recipe
from quantize.gptq import GptqPlan, plan_gptq, plan_gptq_of
from quantize.gptq_recipe import GptqRecipe
from quantize.manifest import ModelNote
from quantize.sources.find import find_ready, find_source
from quantize.sources.source import Source
from quantize.texts import CALIBRATION, HELD_OUT
from quantize.types import PRESETS


class BuildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks of a build besides the model and the recipe.

    `imatrix` is a finished importance matrix, `calibration` a text to collect it from; `use_imatrix` False does
    without. `text` is what fidelity is measured on, `measure_fidelity` False leaves it out.
    """

    source: Path | None = None
    revision: str | None = None
    ready: bool = False
    out: Path = Path()
    imatrix: Path | None = None
    calibration: Path | None = None
    use_imatrix: bool = True
    text: Path | None = None
    measure_fidelity: bool = True
    threads: int | None = None
    replace: bool = False


def make_order(
    model: Model, recipe: Recipe, options: BuildOptions, engine: Engine, *, tool_version: str
) -> Order:
    """Find the source and decide what the build does; nothing is downloaded.

    Raises NotEnoughEvidenceError for a model that the engine does not run, InvalidInputError for options that
    exclude each other, SourceError, HubError, EngineError.
    """
    expected = expected_tensors(model, recipe.preset, engine)
    source = _source(model, recipe, options)
    preset = PRESETS[recipe.preset]
    wanted = options.imatrix is not None or options.calibration is not None
    if wanted and (not options.use_imatrix or options.ready):
        raise InvalidInputError(
            "an importance matrix was given together with an option that does without one"
        )
    # Where it moves the sizes, an importance matrix is used only on request: the result would not be the variant
    # that the catalog and its estimates mean.
    collected = (
        options.use_imatrix
        and not options.ready
        and options.imatrix is None
        and (wanted or recipe.preset not in WITHOUT_IMATRIX | RESIZED_BY_IMATRIX)
    )
    if preset.needs_imatrix and not (collected or options.imatrix or options.ready):
        raise InvalidInputError(f"{preset.name} cannot be made without an importance matrix")
    same = recipe.plain and source.precision == recipe.preset
    return Order(
        model=ModelNote(name=model.name, id=model.id, license=model.license or source.license),
        variant=recipe.preset,
        target=build_folder(model, recipe.preset, options.out),
        source=source,
        recipe=recipe,
        expected=expected,
        imatrix=options.imatrix,
        calibration_text=(options.calibration or CALIBRATION) if collected else None,
        fidelity_text=(
            (options.text or HELD_OUT) if options.measure_fidelity and not (options.ready or same) else None
        ),
        threads=options.threads,
        replace=options.replace,
        tool_version=tool_version,
    )


def build_folder(model: Model, preset: str, out: Path) -> Path:
    """Where a build goes that is made in `out`."""
    return out / f"{model.name}-{preset}"


def make_gptq_order(
    model: Model, recipe: GptqRecipe, options: BuildOptions, *, tool_version: str
) -> GptqOrder:
    """As `make_order`, for a GPTQ checkpoint, whose source are always safetensors. Raises SourceError, HubError."""
    source = find_source(options.source, weights=model.weights, revision=options.revision)
    if source.kind != "safetensors":
        raise SourceError(
            f"GPTQ starts from safetensors, and {source.describe()} is none: give --source the folder "
            "with config.json, the tokenizer and the safetensors"
        )
    return GptqOrder(
        model=ModelNote(name=model.name, id=model.id, license=model.license or source.license),
        parameters=model.parameters,
        target=build_folder(model, str(recipe), options.out),
        source=source,
        recipe=recipe,
        calibration_text=options.calibration or CALIBRATION,
        fidelity_text=(options.text or HELD_OUT) if options.measure_fidelity else None,
        threads=options.threads,
        replace=options.replace,
        tool_version=tool_version,
    )


def plan_gptq_order(order: GptqOrder, model: Model) -> GptqPlan:
    """What the quantization would take: from the headers of a folder that is here, else from the catalog's dimensions.

    Raises InvalidModelError and GptqError for what GPTQ does not take, NotEnoughEvidenceError where neither is known.
    """
    if order.source.path is not None:
        return plan_gptq(order.source.path, order.recipe)
    if model.architecture is None:
        raise NotEnoughEvidenceError(f"{model.name}: {model.unsupported or 'its tensors are not known'}")
    return plan_gptq_of(model.name, model.architecture, order.recipe)


def expected_tensors(model: Model, preset: str, engine: Engine) -> dict[str, ExpectedTensor]:
    """The tensors that the catalog's variant has. Raises NotEnoughEvidenceError, EngineError."""
    arch = model.architecture
    if arch is None or model.unsupported is not None:
        raise NotEnoughEvidenceError(f"{model.name}: {model.unsupported or 'its tensors are not known'}")
    model.variant(preset)  # a preset that makes no sense for it is refused here
    require(engine.version())
    try:
        types = tensor_types(arch, preset, engine)
    except SizesError as error:
        raise NotEnoughEvidenceError(f"the engine cannot make a {preset} of {model.name}: {error}") from error
    return {tensor.name: ExpectedTensor(tensor.shape, types[tensor.name]) for tensor in tensors(arch)}


def _source(model: Model, recipe: Recipe, options: BuildOptions) -> Source:
    if not options.ready:
        return find_source(
            options.source,
            weights=model.weights,
            gguf_repos=model.gguf_repos,
            revision=options.revision,
            parameters=model.parameters,
        )
    if options.source is not None or not recipe.plain:
        raise InvalidInputError("--ready takes a published file as it is: no source and no types of your own")
    return find_ready(
        model.gguf_repos,
        recipe.preset,
        model=model.weights,
        revision=options.revision,
    )
