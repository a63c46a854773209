"""`slm-advisor build`: from full-precision weights to the quantized file, its manifest, and what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advisor.cli.options import json_option
from advisor.cli.output import narrate, write_json, write_text
from advisor.cli.status import StatusLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from advisor.preflight import Preflight
    from profiles.engine.client import Engine
    from quantize.build import Order
    from quantize.build_gptq import GptqOrder
    from quantize.build_steps import Progress
    from quantize.manifest import Manifest

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="Examples:  slm-advisor build Qwen2.5-1.5B-Instruct:Q4_K_M --dry-run\n\n"
    "slm-advisor build llama-3.2-1b:Q4_K_M --source ./llama-3.2-1b-f16.gguf --out models\n\n"
    "slm-advisor build gemma-3-4b-it:IQ3_XXS --calibration my-texts.txt --bench\n\n"
    "slm-advisor build Qwen2.5-1.5B-Instruct:GPTQ-4bit-128g"
)
@click.argument("model", metavar="MODEL:QUANT")
@click.option(
    "--source",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="A full-precision GGUF, or a Hugging Face folder; without it, the Hub.",
)
@click.option("--revision", metavar="REV", help="Branch, tag or commit on the Hub.")
@click.option("--ready", is_flag=True, help="Take a published GGUF of the variant instead of building it.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the build's folder is made.  [here]",
)
@click.option(
    "--calibration", type=_FILE, metavar="FILE", help="Text for the importance matrix, in place of ours."
)
@click.option("--imatrix", type=_FILE, metavar="FILE", help="An importance matrix that is there already.")
@click.option("--no-imatrix", is_flag=True, help="Quantize without an importance matrix.")
@click.option("--text", type=_FILE, metavar="FILE", help="Text to measure fidelity on, in place of ours.")
@click.option("--no-fidelity", is_flag=True, help="Do not measure what the quantization cost.")
@click.option("--output-type", metavar="TYPE", help="Type of the output head: Q6_K, F16 …")
@click.option("--embedding-type", metavar="TYPE", help="Type of the token embeddings.")
@click.option(
    "--tensor-type",
    "overrides",
    multiple=True,
    metavar="REGEX=TYPE",
    help="Type of the tensors whose name matches; the first that matches counts.",
)
@click.option("--threads", type=click.IntRange(1, 512), metavar="N", help="CPU threads.")
@click.option("--bench", "with_bench", is_flag=True, help="Run the built file and keep the speeds.")
@click.option("--replace", is_flag=True, help="Build again what is built already.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and needed, and do nothing.")
@json_option
def build(
    model: str,
    overrides: tuple[str, ...],
    output_type: str | None,
    embedding_type: str | None,
    no_imatrix: bool,
    no_fidelity: bool,
    text: Path | None,
    with_bench: bool,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Build a variant of a catalog model: the file, its manifest, and what the quantization cost.

    QUANT is a quantization of GGUF (Q4_K_M), or a GPTQ checkpoint for transformers and vLLM (GPTQ-4bit-128g: 2, 3, 4
    or 8 bits, a group size, -actorder behind it where wanted).

    The weights come from --source, else from the Hub. Every tensor of the result is held against the catalog. All of
    it is made in a folder beside OUT/MODEL-QUANT, which appears only when it is whole. Exit codes: 3 no room, or a
    tensor is not what it must be; 4 too little memory; 5 a component is missing; 6 network.
    """
    from advisor.build import BuildOptions, make_order
    from advisor.cli.options import split_gptq, split_model, target_of
    from advisor.cli.output import tool_version
    from advisor.preflight import preflight
    from advisor.workload import make_workload
    from profiles.engine.client import Engine
    from quantize.build import build as run
    from quantize.gguf import make_recipe
    from quantize.workspace import check_free

    if (gptq := split_gptq(model)) is not None:
        from advisor.cli.build_gptq import build_gptq

        build_gptq(*gptq, click.get_current_context())
        return
    entry, quant = split_model(model)
    if quant is None:
        raise click.UsageError(
            f"give the quantization too, as in {entry.name}:Q4_K_M", click.get_current_context()
        )
    recipe = make_recipe(quant, output_type=output_type, embedding_type=embedding_type, overrides=overrides)
    options = BuildOptions(use_imatrix=not no_imatrix, text=text, measure_fidelity=not no_fidelity, **given)
    target = target_of(None, make_workload(), strict=False)
    with Engine() as engine:
        order = make_order(entry, recipe, options, engine, tool_version=tool_version())
        check_free(order.target, replace=order.replace)
        bench = _bench(engine) if with_bench else None
        carry_out(
            order,
            preflight(order, entry, target, engine),
            lambda report: run(order, engine, report=report, bench=bench),
            dry_run=dry_run,
            as_json=as_json,
        )


def carry_out(
    order: Order | GptqOrder,
    needs: Preflight,
    run: Callable[[Callable[[Progress], None]], Manifest],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show the plan of an order and, unless it is a dry run, `run` it with a report and show what came out.

    Raises NoRoomError and TooLittleMemoryError by the plan, and what `run` raises.
    """
    from advisor.preflight import check_preflight
    from advisor.report.build_report import PlanDocument, manifest_text, plan_text

    plan = PlanDocument.of(order, needs)
    if dry_run:
        if as_json:
            write_json("build-plan", plan)
        else:
            write_text(plan_text(plan))
    check_preflight(needs, order)
    if dry_run:
        return
    narrate(plan_text(plan).rstrip())
    line = StatusLine()
    try:
        manifest = run(_shown_on(line))
    finally:
        line.end()
    if as_json:
        write_json("build", manifest)
    else:
        write_text(manifest_text(manifest, order.target))


def _shown_on(line: StatusLine) -> Callable[[Progress], None]:
    """A report that shows where the build is, a new stage in any case."""
    from advisor.report.build_report import progress_text

    stage = ""

    def show(progress: Progress) -> None:
        nonlocal stage
        line.show(progress_text(progress), milestone=progress.stage != stage)
        stage = progress.stage

    return show


def _bench(engine: Engine) -> Callable[[Path], dict[str, Any]]:
    """llama-bench's two tests of the built file, kept as `bench` keeps them.

    A busy machine does not spoil the build: the intervals are wide then, and the result is not kept.
    """
    import msgspec

    from advisor.bench import BenchPlan, bench
    from advisor.report.bench_documents import bench_document
    from profiles.errors import NoisyError
    from profiles.resolve import resolve_device
    from profiles.throughput import RunSettings, ThroughputTest

    def measure(path: Path) -> dict[str, Any]:
        plan = BenchPlan(
            tests=(ThroughputTest(512, 0), ThroughputTest(0, 128)), settings=(RunSettings(gpu_layers=-1),)
        )
        device = resolve_device(None)
        try:
            result = bench(path, plan, engine, device)
        except NoisyError:
            result = bench(path, msgspec.structs.replace(plan, strict=False), engine, device)
        document: dict[str, Any] = msgspec.to_builtins(bench_document(result))
        document["file"]["path"] = path.name  # it is about to move
        return document

    return measure
