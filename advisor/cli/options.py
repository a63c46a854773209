"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from advisor.catalog import Model
    from advisor.policy import Policy
    from advisor.ruling import Ruling
    from advisor.target import Target
    from advisor.workload import Workload
    from profiles.device import Device
    from quantize.gptq_recipe import GptqRecipe

device_option = click.option(
    "--device",
    metavar="NAME|FILE.json",
    help="A device of the library or a device file; without it, this machine.",
)
via_option = click.option(
    "--via",
    metavar="COMMAND",
    help="The machine that this command gives a shell on: 'ssh host', 'adb shell', 'docker exec box'.",
)
policy_option = click.option(
    "--policy", metavar="FILE.toml", help="Only what this policy allows (docs/how-to/policy.md)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def share(_: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """A share written as "2%" or 0.02: a callback for click."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter(f"'{value}' is no share; write it like 2% or 0.02", param=option)
    return share


def given_options(context: click.Context, answered: frozenset[str]) -> str:
    """The options that were given though something else answers them, for a message; `answered` are the others.

    An option of the program itself, --offline, is nobody's answer.
    """
    unset = click.core.ParameterSource.DEFAULT
    return ", ".join(
        option.opts[0]
        for option in context.command.params
        if option.expose_value
        and option.name not in answered
        and context.get_parameter_source(str(option.name)) is not unset
    )


def target_of(
    device: str | None, workload: Workload, *, via: str | None = None, strict: bool = True
) -> Target:
    """The target that --device names or --via leads to; for this machine, with what was measured on it.

    Every command that estimates comes through here, so that they all say the same.
    """
    from advisor.errors import NotEnoughEvidenceError
    from advisor.measured_speed import known_speeds_of
    from advisor.target import make_target
    from profiles.resolve import resolve_device

    if via is None:
        found = resolve_device(device)
        known = known_speeds_of(found) if device is None else None
        return make_target(found, workload, strict=strict, known_speeds=known)
    refuse_two_devices(device, via)
    try:
        return make_target(device_over(via), workload, strict=strict)
    except NotEnoughEvidenceError as error:
        raise NotEnoughEvidenceError(
            f"{error} ('slm-advisor profile --via … --json' writes one to start from)"
        ) from None


def ruling_of(policy: str | None) -> Ruling | None:
    """What the file of --policy says of the catalog today; None without one. Raises InvalidInputError as policy_of."""
    loaded = policy_of(policy)
    if loaded is None:
        return None
    import datetime

    from advisor.ruling import Ruling

    return Ruling(loaded, datetime.date.today())


def policy_of(policy: str | None) -> Policy | None:
    """The policy in the file of --policy; None without one.

    Raises InvalidInputError, with the file and the key, for a policy with a mistake in it.
    """
    if policy is None:
        return None
    from advisor.catalog import load_catalog
    from advisor.policy_file import check_names, load_policy

    loaded = load_policy(policy)
    check_names(loaded, load_catalog().models, policy)
    return loaded


def device_over(via: str) -> Device:
    """The device that the command of --via leads to; while it keeps us waiting, stderr says so."""
    from advisor.cli.output import narrate
    from profiles.remote import split_prefix
    from profiles.remote_device import detect_remote

    return detect_remote(split_prefix(via), report=narrate)


def refuse_two_devices(device: str | None, via: str | None) -> None:
    """One device at a time."""
    if device is not None and via is not None:
        raise click.UsageError("give --device or --via, not both", click.get_current_context())


def split_gptq(text: str) -> tuple[Model, GptqRecipe] | None:
    """The model and recipe that MODEL:GPTQ-… names; None where the quantization is no GPTQ.

    Raises UnknownModelError, and UnknownPresetError for a recipe that does not exist.
    """
    from advisor.catalog import load_catalog
    from quantize.gptq_recipe import is_gptq, parse_gptq

    head, _, tail = text.rpartition(":")
    if not head or not is_gptq(tail):
        return None
    return load_catalog().find(head), parse_gptq(tail)


def split_model(text: str) -> tuple[Model, str | None]:
    """The model and quantization that MODEL[:QUANT] names.

    An Ollama name has a colon of its own ("qwen2.5:7b"), so the last part counts as a quantization only if it
    is one. Raises UnknownModelError with the nearest names, InvalidInputError for a GPTQ variant.
    """
    from advisor.catalog import load_catalog
    from advisor.errors import InvalidInputError, UnknownModelError
    from quantize.errors import QuantizeError
    from quantize.types import parse_preset

    if (gptq := split_gptq(text)) is not None:
        model, recipe = gptq
        raise InvalidInputError(
            f"{model.name}:{recipe} can be built ('slm-advisor build {model.name}:{recipe}') but not estimated or run "
            f"here: its readers are transformers and vLLM; give a GGUF quantization, as in {model.name}:Q4_K_M"
        )
    catalog = load_catalog()
    head, colon, tail = text.rpartition(":")
    if not colon:
        return catalog.find(text), None
    try:
        quant = parse_preset(tail)
    except QuantizeError as error:
        try:
            return catalog.find(text), None
        except UnknownModelError:
            catalog.find(head)  # a wrong model is the better message
            raise UnknownModelError(str(error), nearest=getattr(error, "nearest", ())) from None
    return catalog.find(head), quant
