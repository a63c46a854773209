"""`slm-advisor pin`: a deployment manifest from what was recommended, built or run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from advisor.cli.options import device_option, given_options, json_option, share, split_model, target_of
from advisor.cli.output import narrate, write_json, write_text
from advisor.cli.recommend import workload_options
from advisor.cli.status import StatusLine

if TYPE_CHECKING:
    from advisor.pin import Found
    from advisor.workload import Workload

T = TypeVar("T")

_MOST_BYTES = 64 << 20
_NO_NEED = frozenset(
    {
        *("source", "rank", "out", "key", "replace", "as_json"),
        *("min_pp", "max_kld", "max_ppl_increase", "min_same_top"),
    }
)
_KEY = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="Examples:  slm-advisor pin gemma-3-4b-it-Q4_K_M/ --task chat --max-kld 0.05\n\n"
    "slm-advisor pin Qwen3-1.7B-Q8_0.gguf --device 'Raspberry Pi 5' --min-tg 8\n\n"
    "slm-advisor recommend --json > list.json && slm-advisor pin list.json --rank 2"
)
@click.argument("source", metavar="BUILD|FILE.gguf|DOCUMENT.json|MODEL:QUANT")
@click.option("--rank", type=click.IntRange(1), metavar="N", help="Which of a recommendation's list.  [1]")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The manifest.  [deployment.json beside the model file, else here]",
)
@device_option
@workload_options
@click.option(
    "--min-pp", type=click.FloatRange(0), metavar="X", help="Tokens/s it must process prompts with."
)
@click.option("--max-kld", type=click.FloatRange(0), metavar="X", help="Largest mean KL divergence, in nats.")
@click.option("--max-ppl-increase", callback=share, metavar="X%", help="Largest increase of the perplexity.")
@click.option("--min-same-top", callback=share, metavar="X%", help="Least share of the same top token.")
@click.option("--sign", "key", type=_KEY, metavar="KEY.pem", help="Sign it with this ed25519 key.")
@click.option("--replace", is_flag=True, help="Write over a manifest that is there.")
@json_option
def pin(
    source: str,
    rank: int | None,
    out: Path | None,
    device: str | None,
    min_pp: float | None,
    max_kld: float | None,
    max_ppl_increase: float | None,
    min_same_top: float | None,
    key: Path | None,
    replace: bool,
    as_json: bool,
    **need: Any,
) -> None:
    """Pin one deployment: its file, its settings, what it should do and what must hold where it runs.

    The source is a folder that `build` made, a model file, what `recommend --json` or `bench --json` printed, or a
    model of the catalog. What must hold are the floors of the task and of the options; `verify` holds a target
    against them. Exit code 3 when it does not fit the device.
    """
    import msgspec

    from advisor.catalog import catalog_version
    from advisor.cli.output import tool_version
    from advisor.errors import InvalidInputError
    from advisor.gate import Limits
    from advisor.manifest import FILE_NAME, decode_manifest, encode_manifest
    from advisor.pin import make_manifest, requirements
    from advisor.report.manifest_text import manifest_text
    from advisor.signing import sign, signature_path
    from advisor.workload import make_workload
    from profiles.data_folder import write_whole

    found = _find(source, device, make_workload(**need), rank)
    limits = Limits(max_kld=max_kld, max_ppl_increase=max_ppl_increase, min_same_top=min_same_top)
    requires = requirements(found.workload, limits, min_pp)
    manifest = make_manifest(found, requires, tool_version=tool_version(), catalog_version=catalog_version())
    content = encode_manifest(manifest)
    path = out or (found.folder or Path()) / FILE_NAME
    if path.exists() and not replace:
        raise InvalidInputError(f"{path} is there already; give --replace to write over it, or --out")
    signature = None if key is None else sign(content, key)
    # The signature first: a manifest is never there without the signature that was asked for.
    if signature is not None:
        write_whole(signature_path(path), signature)
    else:
        signature_path(path).unlink(missing_ok=True)  # of the manifest that was here
    write_whole(path, content)
    manifest = decode_manifest(content, str(path))
    if as_json:
        write_json("deployment", msgspec.to_builtins(manifest))
    else:
        write_text(manifest_text(manifest))
    narrate(
        f"slm-advisor: written to {path}" + (" and signed" if key else "") + f"; 'slm-advisor verify {path}'"
    )


def _find(source: str, device: str | None, workload: Workload, rank: int | None) -> Found:
    from advisor.pin import find_recommended
    from advisor.report.documents import RecommendationDocument

    path = Path(source)
    content = _document(path)
    schema = _schema(content)
    if rank is not None and schema != "slm-advisor/recommendation":
        raise click.UsageError("--rank is for what 'recommend --json' printed", click.get_current_context())
    if content is not None and schema == "slm-advisor/recommendation":
        _refuse_need()
        return find_recommended(_decode(content, RecommendationDocument, path), rank or 1, source)
    if path.is_dir() or schema == "slm-advisor/build":
        return _built(path if path.is_dir() else path.parent, device, workload)
    if content is not None and schema == "slm-advisor/bench":
        return _benched(content, path, device, workload)
    if content is not None:
        from advisor.errors import InvalidInputError

        raise InvalidInputError(
            f"{source} is no document to pin from: it must be what 'recommend --json', 'build' or 'bench --json' wrote"
        )
    if path.suffix.lower() == ".gguf":
        return _model_file(path, device, workload)
    model, quant = split_model(source)
    if quant is None:
        raise click.UsageError(
            f"give the quantization too, as in {model.name}:Q4_K_M", click.get_current_context()
        )
    return _catalogued(f"{model.id}:{quant}", device, workload)


def _catalogued(name: str, device: str | None, workload: Workload) -> Found:
    from advisor.pin import find_model

    model, quant = split_model(name)
    assert quant is not None
    return find_model(model, quant, target_of(device, workload), workload, here=device is None)


def _built(folder: Path, device: str | None, workload: Workload) -> Found:
    from advisor.pin import with_build
    from quantize.manifest import read_manifest

    build = read_manifest(folder)
    return with_build(_catalogued(f"{build.model.id}:{build.variant}", device, workload), build, folder)


def _benched(content: bytes, path: Path, device: str | None, workload: Workload) -> Found:
    from advisor.errors import InvalidInputError
    from advisor.pin import with_bench
    from advisor.report.bench_documents import BenchDocument

    bench = _decode(content, BenchDocument, path)
    if device is not None:
        raise InvalidInputError("a bench was measured on the machine it ran on: leave --device out")
    if bench.file.model is None or bench.file.quant is None:
        raise InvalidInputError(f"{bench.file.path}, which {path} is of, is no variant of a catalog model")
    return with_bench(_catalogued(f"{bench.file.model}:{bench.file.quant}", None, workload), bench)


def _model_file(path: Path, device: str | None, workload: Workload) -> Found:
    from advisor.pin import variant_file, with_file
    from profiles.text import amount
    from quantize.hashes import sha256_of

    file = variant_file(path)
    assert file.model is not None
    found = _catalogued(f"{file.model.id}:{file.preset}", device, workload)
    line = StatusLine()
    try:
        sha256 = sha256_of(path, lambda done, total: line.show(f"hashing, {amount(done)} of {amount(total)}"))
    finally:
        line.end()
    return with_file(found, file, sha256)


def _document(path: Path) -> bytes | None:
    """The content of a JSON file, None for what is none. Raises OSError."""
    from profiles.files import read_at_most

    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    return read_at_most(path, _MOST_BYTES)


def _schema(content: bytes | None) -> str | None:
    import msgspec

    class Head(msgspec.Struct):
        schema: str

    try:
        return None if content is None else msgspec.json.decode(content, type=Head).schema
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _decode(content: bytes, kind: type[T], path: Path) -> T:
    import msgspec

    from advisor.errors import InvalidInputError

    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInputError(f"{path} cannot be used: {error}") from error


def _refuse_need() -> None:
    """A recommendation has its device and its workload: an option beside it would look as if it counted."""
    context = click.get_current_context()
    given = given_options(context, _NO_NEED)
    if given:
        raise click.UsageError(f"the recommendation says what {given} would: give it to 'recommend'", context)
