"""`slm-advisor build MODEL:GPTQ-…`: the part of `build` that makes a checkpoint for transformers and vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from advisor.catalog import Model
    from quantize.gptq_recipe import GptqRecipe

# Parameters of `build` that mean something for a GGUF only. --no-imatrix is true of GPTQ, and so allowed.
_FOR_GGUF = frozenset({"ready", "imatrix", "output_type", "embedding_type", "overrides", "with_bench"})


def build_gptq(entry: Model, recipe: GptqRecipe, context: click.Context) -> None:
    """Build `entry` by `recipe` with what `build` was given. Raises UsageError for an option that is for GGUF only."""
    from advisor.build import BuildOptions, make_gptq_order, plan_gptq_order
    from advisor.cli.build import carry_out
    from advisor.cli.output import tool_version
    from advisor.preflight import preflight_gptq
    from quantize.build_gptq import build_gptq as run
    from quantize.gptq import require_gptq
    from quantize.workspace import check_free

    _refuse_others(context, recipe)
    require_gptq()
    given = context.params
    options = BuildOptions(
        source=given["source"],
        revision=given["revision"],
        out=given["out"],
        calibration=given["calibration"],
        text=given["text"],
        measure_fidelity=not given["no_fidelity"],
        threads=given["threads"],
        replace=given["replace"],
    )
    order = make_gptq_order(entry, recipe, options, tool_version=tool_version())
    check_free(order.target, replace=order.replace)
    carry_out(
        order,
        preflight_gptq(order, plan_gptq_order(order, entry)),
        lambda report: run(order, report=report),
        dry_run=given["dry_run"],
        as_json=given["as_json"],
    )


def _refuse_others(context: click.Context, recipe: GptqRecipe) -> None:
    for option in context.command.params:
        if option.name in _FOR_GGUF and context.params[option.name]:
            raise click.UsageError(
                f"{option.opts[0]} is for GGUF files and means nothing for {recipe}: leave it out", context
            )
