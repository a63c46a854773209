"""`slm-advisor recommend` and `slm-advisor explain`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from advisor.cli.options import (
    device_option,
    given_options,
    json_option,
    policy_option,
    ruling_of,
    share,
    split_model,
    target_of,
    via_option,
)
from advisor.cli.output import narrate, write_json, write_text

if TYPE_CHECKING:
    from advisor.catalog import Model
    from advisor.confirm import Confirmation, Confirmed, Failure
    from advisor.measurements import Measurement
    from advisor.ruling import Ruling
    from advisor.target import Target
    from advisor.workload import Workload

F = TypeVar("F", bound=Callable[..., Any])


def workload_options(function: F) -> F:
    """The options that describe what the user will do."""
    options = (
        click.option(
            "--task",
            default="general",
            metavar="TASK",
            help="chat, coding, reasoning, summarize, translate, extract, agent, voice or general.",
        ),
        click.option(
            "--language", "languages", multiple=True, metavar="CODE", help="Language of the text: ja, de …"
        ),
        click.option("--context", "context_length", type=int, metavar="N", help="Context length in tokens."),
        click.option("--prompt-tokens", type=int, metavar="N", help="Length of a typical prompt."),
        click.option("--answer-tokens", type=int, metavar="N", help="Length of a typical answer."),
        click.option(
            "--min-tg", "min_tg_tokens_per_s", type=float, metavar="X", help="Tokens/s it must generate."
        ),
        click.option("--max-ttft", "max_ttft_s", type=float, metavar="S", help="Seconds to the first token."),
        click.option(
            "--memory-budget", metavar="B", help="Memory it may take: 6GB, 5.5GiB, 'now' or 'cleared'."
        ),
        click.option("--leave-free", metavar="B", help="Main memory to leave to other programs: 2GB."),
        click.option(
            "--license",
            "licenses",
            multiple=True,
            metavar="L",
            help="permissive, commercial or a licence such as apache-2.0.",
        ),
        click.option("--max-download", metavar="B", help="Largest file: 4GB."),
        click.option("--family", "families", multiple=True, metavar="NAME", help="qwen, Gemma 3, granite …"),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command(
    epilog="Examples:  slm-advisor recommend --task chat --language ja\n\n"
    "slm-advisor recommend --device 'Pixel 9' --task voice --json\n\n"
    "slm-advisor recommend --via 'ssh laptop' --task chat\n\n"
    "slm-advisor recommend --confirm 3\n\n"
    "slm-advisor recommend --devices inventory.jsonl --task chat\n\n"
    "slm-advisor recommend --why Qwen3-8B:Q8_0"
)
@device_option
@via_option
@workload_options
@policy_option
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many to show.")
@click.option(
    "--confirm",
    "confirmed",
    type=click.IntRange(1, 20),
    metavar="N",
    help="Run the first N here with made-up weights (about a minute each), and rank again.",
)
@click.option("--why", metavar="MODEL[:QUANT]", help="Explain one model instead.")
@click.option("--devices", metavar="FILE.jsonl|-", help="Answer a fleet of devices, one a line.")
@click.option(
    "--cover",
    default="95%",
    show_default=True,
    callback=share,
    metavar="SHARE",
    help="Of a fleet, the devices that the fewest files are to cover.",
)
@click.option("--ray", metavar="ADDRESS", help="Answer a fleet on this Ray cluster: ray://HOST:10001, auto.")
@click.option("--verbose", is_flag=True, help="Show every term of every estimate.")
@json_option
def recommend(
    device: str | None,
    via: str | None,
    policy: str | None,
    top: int,
    confirmed: int | None,
    why: str | None,
    devices: str | None,
    cover: float,
    ray: str | None,
    verbose: bool,
    as_json: bool,
    **need: Any,
) -> int:
    """Rank the deployments that fit a device and a task, best first.

    Without --device or --via the answer is for this machine. With --devices it is for each device of a file: a line
    is a name of the library, an object with `device` and `id`, or what 'profile --json' prints; then come the files
    that cover the fleet. Exit code 3 when nothing fits.
    """
    if devices is not None:
        return _fleet(devices, cover, ray, policy, top, as_json, need)
    if ray is not None:
        raise click.UsageError("--ray answers the fleet of --devices", click.get_current_context())
    if confirmed is not None:
        _check_confirm(device, via, why)
    if why is not None:
        return _explain(why, device, via, policy, as_json, need)
    from advisor.catalog import load_catalog
    from advisor.recommend import recommend as rank
    from advisor.report.view import recommendation_document

    ruling = ruling_of(policy)
    target, workload = _target(device, via, need)
    models = load_catalog().models
    confirmations: tuple[Confirmation, ...] = ()
    if confirmed is None:
        result = rank(models, target, workload, ruling=ruling)
    else:
        found = _confirm(models, target, workload, confirmed, ruling)
        result, target, confirmations = found.recommendation, found.target, found.confirmations
    document = recommendation_document(
        result, target, workload, top=top, confirmations=confirmations, ruling=ruling
    )
    if as_json:
        write_json("recommendation", document)
    else:
        from advisor.report.table import recommendation_text

        write_text(recommendation_text(document, verbose=verbose))
    return 0 if document.recommendations else 3


def _fleet(
    source: str,
    cover: float,
    ray: str | None,
    policy: str | None,
    top: int,
    as_json: bool,
    need: dict[str, Any],
) -> int:
    from advisor.cli.fleet import answer_fleet, check_fleet
    from advisor.errors import InvalidInputError
    from advisor.fleet.decide import Question
    from advisor.workload import make_workload

    context = click.get_current_context()
    answered = frozenset({"devices", "cover", "ray", "policy", "top", "as_json", *need})
    check_fleet(context, source, given_options(context, answered))
    ruling = ruling_of(policy)
    if ruling is not None and ruling.policy.offline_only and ray is not None:
        raise InvalidInputError(
            f"{policy}: offline_only asks for files on this machine, which no other node can answer: leave --ray out"
        )
    question = Question(
        workload=make_workload(**need),
        top=top,
        policy=None if ruling is None else ruling.policy,
        today=None if ruling is None else ruling.today,
    )
    return answer_fleet(source, question, cover, ray=ray, top=top, as_json=as_json)


def _check_confirm(device: str | None, via: str | None, why: str | None) -> None:
    """Before anything is computed: candidates can be run on this machine only, and only with an engine."""
    from advisor.errors import ComponentMissingError, InvalidInputError
    from profiles.engine.installed import installed_engine

    if why is not None:
        raise click.UsageError("give --confirm or --why, not both", click.get_current_context())
    if device is not None or via is not None:
        option = "--device" if via is None else "--via"
        raise InvalidInputError(
            f"--confirm runs models on this machine, not on '{device or via}': leave {option} out"
        )
    if installed_engine() is None:
        raise ComponentMissingError(
            "--confirm runs models, and the engine is not installed; 'slm-advisor engine install' installs it"
        )


def _confirm(
    models: tuple[Model, ...], target: Target, workload: Workload, count: int, ruling: Ruling | None
) -> Confirmed:
    from advisor.candidates import Candidate
    from advisor.confirm import confirm
    from advisor.probe_candidate import probe_candidate

    def report(candidate: Candidate, number: int, most: int) -> None:
        narrate(f"{number} of at most {most}: {candidate.model.name}:{candidate.variant.quant}")

    def run(candidate: Candidate) -> tuple[Measurement, ...] | Failure:
        return probe_candidate(candidate, target, workload, lambda text: narrate(f"  {text}"))

    return confirm(models, target, workload, count, run, report=report, ruling=ruling)


@click.command(
    epilog="Examples:  slm-advisor explain Qwen3-8B --device 'Raspberry Pi 5' --task chat\n\n"
    "slm-advisor explain gemma-3-4b-it:Q8_0 --context 32768"
)
@click.argument("model", metavar="MODEL[:QUANT]")
@device_option
@via_option
@workload_options
@policy_option
@json_option
def explain(
    model: str, device: str | None, via: str | None, policy: str | None, as_json: bool, **need: Any
) -> int:
    """Say whether a model fits, which constraint binds, and the cheapest change that would let it in.

    Exit code 3 when it does not fit.
    """
    return _explain(model, device, via, policy, as_json, need)


def _explain(
    text: str, device: str | None, via: str | None, policy: str | None, as_json: bool, need: dict[str, Any]
) -> int:
    from advisor.report.view import explanation_document
    from advisor.ruling import explain_under

    model, quant = split_model(text)
    ruling = ruling_of(policy)
    target, workload = _target(device, via, need)
    explanation = explain_under(model, quant, target, workload, ruling)
    document = explanation_document(explanation, target, workload, ruling=ruling)
    if as_json:
        write_json("explanation", document)
    else:
        from advisor.report.table import explanation_text

        write_text(explanation_text(document))
    return 0 if document.fits else 3


def _target(device: str | None, via: str | None, need: dict[str, Any]) -> tuple[Any, Any]:
    # The workload first: a wrong value is refused before the device is probed.
    from advisor.workload import make_workload

    workload = make_workload(**need)
    return target_of(device, workload, via=via), workload
