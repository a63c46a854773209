"""`slm-advisor probe`: a model's throughput on this device, without its weights."""

from __future__ import annotations

import click

from advisor.cli.options import json_option, split_model, target_of
from advisor.cli.output import narrate, write_json, write_text


@click.command(
    epilog="Examples:  slm-advisor probe Qwen2.5-7B-Instruct:Q4_K_M\n\n"
    "slm-advisor probe llama-3.1-8b:Q8_0 --n-prompt 4000 --type-k q8_0 --type-v q8_0 --json"
)
@click.argument("model", metavar="MODEL:QUANT")
@click.option(
    "--backend", metavar="NAME", help="cpu, cuda, metal, vulkan, rocm or sycl; the best by default."
)
@click.option("--context", "context_length", type=int, metavar="N", help="Context length in tokens.")
@click.option("--n-prompt", type=int, metavar="N", help="Tokens of the prompt.")
@click.option("--n-gen", type=int, metavar="N", help="Tokens to generate after it.")
@click.option("--type-k", metavar="TYPE", help="Type of the K cache: f16, q8_0 …")
@click.option("--type-v", metavar="TYPE", help="Type of the V cache.")
@click.option("--micro-batch", type=int, metavar="N", help="Prompt tokens computed at once.")
@click.option("--offload-layers", type=int, metavar="N", help="Layers on the accelerator; all by default.")
@click.option("--threads", type=int, metavar="N", help="CPU threads.")
@click.option(
    "--under-load", is_flag=True, help="Measure while other programs run too; the result is not kept."
)
@json_option
def probe(
    model: str,
    backend: str | None,
    context_length: int | None,
    n_prompt: int | None,
    n_gen: int | None,
    type_k: str | None,
    type_v: str | None,
    micro_batch: int | None,
    offload_layers: int | None,
    threads: int | None,
    under_load: bool,
    as_json: bool,
) -> int:
    """Time a model of the catalog on this device, without downloading it.

    A model of the same architecture and tensor types is made from synthetic weights and run: whole where that is
    quick, else some of its layers. Takes up to a minute and some GB of temporary disk, which is freed whatever
    happens. The result is kept and used in place of the estimate it answers. Exit code 3 without the memory or the
    disk for it, 4 on a busy machine, 5 without the engine.
    """
    from advisor.errors import InvalidInputError
    from advisor.estimate import make_settings
    from advisor.measurements import record
    from advisor.probe import measurements_of, place_of_engine, probe
    from advisor.report.probe_documents import probe_document
    from advisor.workload import make_workload
    from profiles.errors import NoisyError

    entry, quant = split_model(model)
    if quant is None:
        raise InvalidInputError(
            f"'{model}' names no quantization; write it like {entry.name}:Q4_K_M, one of "
            f"{', '.join(variant.quant for variant in entry.variants) or 'none: ' + str(entry.unsupported)}"
        )
    workload = make_workload(context_length=context_length, prompt_tokens=n_prompt, answer_tokens=n_gen)
    target = target_of(None, workload, strict=False)
    place = place_of_engine(target, backend)
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
    try:
        result = probe(
            entry,
            entry.variant(quant),
            target,
            place,
            settings,
            n_prompt=workload.prompt_tokens,
            n_gen=workload.answer_tokens,
            report=lambda text: narrate(f"slm-advisor: {text}"),
            strict=not under_load,
        )
    except NoisyError as error:
        raise NoisyError(f"{error} (--under-load measures all the same)") from error
    kept = () if under_load else measurements_of(result, target)
    problems = [problem for each in kept if (problem := record(each))]
    document = probe_document(result, target.device.name, tuple(dict.fromkeys(problems)))
    if as_json:
        write_json("probe", document)
    else:
        from advisor.report.probe_text import probe_text

        write_text(probe_text(document))
    return 0
