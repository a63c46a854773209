"""One build by GPTQ, from safetensors to a folder with the checkpoint and the proof of what it is.

    manifest = build_gptq(order, report=print)

As `quantize.build` makes a GGUF: in a folder beside the target, which takes its name at the end, in one step; with the
same source, licence, measure of fidelity and manifest. The engine has no part in it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import msgspec

from quantize.build_steps import Progress, Report, Steps
from quantize.errors import UnexpectedTensorsError
from quantize.fidelity import Fidelity
from quantize.gptq import GptqFacts, GptqProgress, quantize_gptq, require_gptq
from quantize.gptq_fidelity import measure_gptq_fidelity
from quantize.gptq_recipe import GptqRecipe
from quantize.manifest import FileNote, Manifest, ModelNote, RecipeNote, write_manifest
from quantize.safetensors_header import Weights, read_weights
from quantize.sources.source import Fetched, Source
from quantize.workspace import workspace

# A file may keep rotary frequencies too; the models of a family are further apart.
_MODEL_TOLERANCE = 0.01


class GptqOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be built, from what, and where to. Its fields decide the result.

    `parameters` are those of the catalog's model; `source` has safetensors.
    `fidelity_text` None measures nothing.
    """

    model: ModelNote
    parameters: int
    target: Path
    source: Source
    recipe: GptqRecipe
    calibration_text: Path
    fidelity_text: Path | None = None
    threads: int | None = None
    replace: bool = False
    tool_version: str = ""

    @property
    def variant(self) -> str:
        return str(self.recipe)


def build_gptq(order: GptqOrder, *, report: Report = lambda _: None) -> Manifest:
    """Build `order.target`, a folder with the checkpoint and its manifest.

    Raises GptqMissingError before anything is fetched, OccupiedError, SourceError and HubError, InvalidModelError,
    GptqError for a model that GPTQ does not take, GptqWorkerError, UnexpectedTensorsError where the source is another
    model or the checkpoint not what was ordered, NoRoomError and TooLittleMemoryError; nothing has the target's
    name then.
    """
    require_gptq()
    with workspace(order.target, replace=order.replace) as work:
        manifest = _build(order, Steps(work.path, report))
        write_manifest(manifest, work.path)
        work.publish()
    report(Progress(stage="done"))
    return manifest


def _build(order: GptqOrder, steps: Steps) -> Manifest:
    fetched = steps.fetch(order.source)
    _check_model(order, fetched.path)
    checkpoint = steps.temporary / "checkpoint"
    facts = _quantize(order, fetched.path, checkpoint, steps)
    fidelity = _fidelity(order, fetched.path, checkpoint, steps)
    built = read_weights(checkpoint)
    for file in facts.files:
        (checkpoint / file.name).replace(steps.folder / file.name)
    shutil.rmtree(steps.temporary)
    return _manifest(order, steps, fetched, facts, built, fidelity)


def _check_model(order: GptqOrder, folder: Path) -> None:
    """Raise UnexpectedTensorsError where the weights are those of another model."""
    weights = read_weights(folder)
    head = sum(tensor.parameters for tensor in weights.tensors if tensor.name == "lm_head.weight")
    # Some files keep a tied output head once more.
    apart = min(abs(count - order.parameters) for count in (weights.parameters, weights.parameters - head))
    if apart > _MODEL_TOLERANCE * order.parameters:
        raise UnexpectedTensorsError(
            f"{folder} is not what the catalog expects of {order.model.name}: it has {weights.parameters:,} weights, "
            f"not {order.parameters:,}"
        )


def _quantize(order: GptqOrder, source: Path, checkpoint: Path, steps: Steps) -> GptqFacts:
    def show(now: GptqProgress) -> None:
        note = "" if now.phase == "quantizing" else now.phase
        steps.tell("quantize", now.done, now.total or None, note, unit="layers")

    with steps.stage("quantize"):
        return quantize_gptq(
            source,
            checkpoint,
            order.recipe,
            order.calibration_text,
            threads=order.threads,
            progress=show,
        )


def _fidelity(order: GptqOrder, source: Path, checkpoint: Path, steps: Steps) -> Fidelity | None:
    if order.fidelity_text is None:
        return None
    with steps.stage("fidelity"):
        measured = measure_gptq_fidelity(
            checkpoint,
            source,
            order.fidelity_text,
            threads=order.threads,
            progress=steps.chunks("fidelity"),
        )
    # The manifest travels; the text's place on this machine means nothing elsewhere.
    return msgspec.structs.replace(measured, text=order.fidelity_text.name)


def _manifest(
    order: GptqOrder,
    steps: Steps,
    fetched: Fetched,
    facts: GptqFacts,
    built: Weights,
    fidelity: Fidelity | None,
) -> Manifest:
    by_type: Counter[str] = Counter()
    for tensor in built.tensors:
        by_type[tensor.dtype] += tensor.bytes
    return steps.manifest(
        tool_version=order.tool_version,
        model=order.model,
        variant=order.variant,
        files=tuple(FileNote(name=file.name, bytes=file.bytes, sha256=file.sha256) for file in facts.files),
        bytes_by_type=by_type,
        elements=facts.parameters,
        fetched=fetched,
        recipe=RecipeNote(
            method="gptq",
            preset=facts.recipe,
            options={
                "bits": order.recipe.bits,
                "group_size": order.recipe.group_size,
                "act_order": order.recipe.act_order,
                "calibration_text": order.calibration_text.name,
                "calibration_sha256": facts.calibration_sha256,
                "samples": facts.samples,
                "context": facts.context,
                "device": facts.device,
                "threads": facts.threads,
            },
        ),
        tools=facts.quantizer,
        fidelity=fidelity,
        bench=None,
        notes=tuple(_notes(facts)),
    )


def _notes(facts: GptqFacts) -> list[str]:
    """What a reader of the checkpoint has to know."""
    notes = []
    if facts.vllm is not None:
        notes.append(f"{facts.vllm}; transformers reads this checkpoint")
    if facts.transformers_backend is not None:
        notes.append(
            f'transformers on a CPU needs GPTQConfig(backend="{facts.transformers_backend}") to read it'
        )
    if facts.whole:
        notes.append(f"{len(facts.whole)} matrices inside blocks stayed as they were ({facts.whole[0]} …)")
    return notes
