"""`slm-advisor estimate`: one deployment, or a batch of them."""

from __future__ import annotations

import sys

import click

from advisor.cli.options import (
    device_option,
    given_options,
    json_option,
    policy_option,
    ruling_of,
    split_model,
    target_of,
    via_option,
)
from advisor.cli.output import write_json, write_text


@click.command(
    epilog="Examples:  slm-advisor estimate Qwen2.5-7B-Instruct:Q4_K_M --context 8192\n\n"
    "slm-advisor estimate llama-3.1-8b:Q8_0 --device 'RTX 4090' --json\n\n"
    "slm-advisor estimate --batch rows.jsonl > answers.jsonl"
)
@click.argument("model", metavar="MODEL:QUANT", required=False)
@device_option
@via_option
@click.option("--backend", metavar="NAME", help="cpu, cuda, metal, vulkan, rocm, opencl, hexagon or sycl.")
@click.option("--context", "context_length", type=int, metavar="N", help="Context length in tokens.")
@click.option("--n-prompt", type=int, metavar="N", help="Tokens of the prompt.")
@click.option("--n-gen", type=int, metavar="N", help="Tokens to generate.")
@click.option("--task", default="general", metavar="TASK", help="The task whose quality is shown.")
@click.option("--language", "languages", multiple=True, metavar="CODE", help="Language of the text: ja, de …")
@click.option("--type-k", metavar="TYPE", help="Type of the K cache: f16, q8_0 …")
@click.option("--type-v", metavar="TYPE", help="Type of the V cache.")
@click.option("--micro-batch", type=int, metavar="N", help="Prompt tokens computed at once.")
@click.option("--offload-layers", type=int, metavar="N", help="Layers on the accelerator; all by default.")
@click.option("--threads", type=int, metavar="N", help="CPU threads.")
@policy_option
@click.option("--batch", metavar="ROWS.jsonl|-", help="Estimate a row a line; '-' reads standard input.")
@json_option
def estimate(
    model: str | None,
    device: str | None,
    via: str | None,
    backend: str | None,
    context_length: int | None,
    n_prompt: int | None,
    n_gen: int | None,
    task: str,
    languages: tuple[str, ...],
    type_k: str | None,
    type_v: str | None,
    micro_batch: int | None,
    offload_layers: int | None,
    threads: int | None,
    policy: str | None,
    batch: str | None,
    as_json: bool,
) -> int:
    """Memory, speed and quality of one deployment with every term, or of many rows.

    A row of --batch is a JSON object with `model` and `quant`, and may have id, device (a name or an object),
    context_length, backend, threads, n_prompt, n_gen, depth, type_k, type_v, micro_batch and offload_layers.
    Exit code 3 if a line of the batch could not be answered, or if the policy rules the deployment out.
    """
    if batch is not None:
        if model is not None:
            raise click.UsageError("give MODEL:QUANT or --batch, not both", click.get_current_context())
        _refuse_beside_batch(click.get_current_context())
        return _run_batch(batch)
    if model is None:
        raise click.UsageError("MODEL:QUANT or --batch is missing", click.get_current_context())
    import msgspec

    from advisor.candidates import evaluate
    from advisor.errors import InvalidInputError
    from advisor.estimate import choose_place, make_settings
    from advisor.report.documents import EstimateDocument
    from advisor.report.view import deployment_view, device_summary, policy_notes
    from advisor.workload import make_workload

    entry, quant = split_model(model)
    if quant is None:
        raise InvalidInputError(
            f"'{model}' names no quantization; write it like {entry.name}:Q4_K_M, one of "
            f"{', '.join(variant.quant for variant in entry.variants) or 'none: ' + str(entry.unsupported)}"
        )
    workload = make_workload(
        task=task,
        languages=languages,
        context_length=context_length,
        prompt_tokens=n_prompt,
        answer_tokens=n_gen,
    )
    ruling = ruling_of(policy)
    target = target_of(device, workload, via=via, strict=False)
    place = choose_place(target, backend)
    settings = make_settings(
        place,
        entry,
        context_length=workload.context_length,
        type_k=type_k,
        type_v=type_v,
        micro_batch=micro_batch,
        offload_layers=offload_layers,
        threads=threads,
    )
    candidate = evaluate(entry, entry.variant(quant), target, place, settings, workload)
    forbidden = () if ruling is None else ruling.shortfalls(candidate.model, candidate.variant)
    candidate = msgspec.structs.replace(candidate, shortfalls=(*forbidden, *candidate.shortfalls))
    notes = policy_notes(ruling, (candidate,))
    deployment = deployment_view(candidate, target, workload)
    if as_json:
        assumptions = () if candidate.speed is None else candidate.speed.assumptions
        write_json(
            "estimate",
            EstimateDocument(
                device=device_summary(target), deployment=deployment, notes=(*assumptions, *notes)
            ),
        )
    else:
        from advisor.report.console import render
        from advisor.report.table import deployment_lines

        write_text(render(*deployment_lines(deployment), *(f"Note: {note}." for note in notes)))
    return 3 if forbidden else 0


def _refuse_beside_batch(context: click.Context) -> None:
    """What a row says is all there is: an option beside it would look as if it counted."""
    given = given_options(context, frozenset({"model", "batch", "as_json"}))
    if given:
        raise click.UsageError(f"with --batch, write into the rows what {given} says", context)


def _run_batch(source: str) -> int:
    """Stream rows to answers; 3 if any line could not be answered."""
    import msgspec

    from advisor.cli.lines import lines_of
    from advisor.estimate import MAX_LINE_BYTES, ErrorLine, estimate_lines

    encoder = msgspec.json.Encoder()
    failed = 0
    buffer = bytearray()
    for answer in estimate_lines(lines_of(source, MAX_LINE_BYTES)):
        failed += isinstance(answer, ErrorLine)
        encoder.encode_into(answer, buffer, len(buffer))
        buffer += b"\n"
        # A pipe from a live producer gets each answer at once; a file is answered in blocks.
        if source == "-" or len(buffer) > 1 << 16:
            _write(buffer, flush=source == "-")
    _write(buffer, flush=True)
    return 3 if failed else 0


def _write(buffer: bytearray, *, flush: bool) -> None:
    if sys.stdout is not None:
        sys.stdout.buffer.write(buffer)
        if flush:
            sys.stdout.buffer.flush()
    buffer.clear()
