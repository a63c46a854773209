"""What other programs need to run a pinned deployment: files with the settings of its manifest.

Each lies beside the model file, which it names without a folder, so that the folder can be moved as a whole. What a
program has no setting for is said in `left_out`.

- Ollama: https://docs.ollama.com/modelfile
- llama-server and its environment variables: llama.cpp, tools/server/README.md
- LM Studio: https://lmstudio.ai/docs/cli
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from advisor.errors import InvalidInputError
from advisor.language import _
from advisor.manifest import DeploymentManifest, PinnedSettings
from profiles.data_folder import write_whole

Program = Literal["ollama", "llama-server", "lm-studio", "env"]


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `run` is the command that uses it, in its folder; `left_out` says what else must be set, and how."""

    program: Program
    name: str
    content: str
    run: str
    executable: bool = False
    left_out: tuple[str, ...] = ()


def export(manifest: DeploymentManifest, program: Program) -> Export:
    """The file for one program. Raises InvalidInputError for a manifest that names no model file."""
    if manifest.file is None:
        raise InvalidInputError(
            _("{label} was pinned before there was a file: build it, and pin the build to export it").format(
                label=manifest.label
            )
        )
    return _WRITERS[program](manifest, manifest.file.name)


def write_exports(
    exports: Sequence[Export], folder: Path, *, replace: bool, remedy: str = "--replace writes over it"
) -> None:
    """Write all of them into `folder`, which is made; each appears whole.

    Raises InvalidInputError, having written nothing, where a file with other content is there and may not be replaced;
    it says the `remedy`.
    """
    for one in exports:
        path = folder / one.name
        if not replace and path.exists() and path.read_bytes() != one.content.encode():
            raise InvalidInputError(
                _("{path} is there already, with other content; {remedy}").format(path=path, remedy=remedy)
            )
    for one in exports:
        write_whole(folder / one.name, one.content.encode())
        (folder / one.name).chmod(0o755 if one.executable else 0o644)


def _ollama(manifest: DeploymentManifest, file: str) -> Export:
    settings = manifest.settings
    name = _slug(manifest)
    parameters = {
        "num_ctx": settings.context_length,
        "num_batch": settings.micro_batch,
        "num_gpu": settings.offload_layers,
        "num_thread": settings.threads,
    }
    lines = [
        *_heading(manifest),
        f"FROM ./{file}",
        *(f"PARAMETER {key} {value}" for key, value in parameters.items() if value is not None),
    ]
    left_out = []
    if settings.type_k != "f16" or settings.type_v != "f16":
        left_out.append(
            f"the KV cache of {settings.type_k}: start the server with OLLAMA_FLASH_ATTENTION=1 "
            f"OLLAMA_KV_CACHE_TYPE={settings.type_k}"
        )
    return Export(
        program="ollama",
        name="Modelfile",
        content="\n".join(lines) + "\n",
        run=f"ollama create {name} -f Modelfile && ollama run {name}",
        left_out=(*left_out, *_prompt_threads(settings, "Ollama")),
    )


def _llama_server(manifest: DeploymentManifest, file: str) -> Export:
    options = [
        f"--{name.lower().replace('_', '-')} {value}" for name, value in _llama_arguments(manifest.settings)
    ]
    if manifest.settings.threads_batch is not None:
        options.append(f"--threads-batch {manifest.settings.threads_batch}")
    lines = [
        "#!/bin/sh",
        *_heading(manifest),
        'folder=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit',
        f'exec llama-server --model "$folder"/{shlex.quote(file)} \\',
        *(f"  {option} \\" for option in options),
        '  "$@"',
    ]
    return Export(
        program="llama-server",
        name="llama-server.sh",
        content="\n".join(lines) + "\n",
        run="./llama-server.sh --host 127.0.0.1 --port 8080",
        executable=True,
    )


def _lm_studio(manifest: DeploymentManifest, file: str) -> Export:
    settings = manifest.settings
    most = settings.n_layer + 1
    share = settings.offload_layers / most
    gpu = "off" if share == 0 else "max" if share >= 1 else f"{share:.2f}"
    folder = f"slm-advisor/{_slug(manifest)}"
    lines = [
        "#!/bin/sh",
        *_heading(manifest),
        'folder=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit',
        f'lms import --yes --copy --user-repo {folder} "$folder"/{shlex.quote(file)} &&',
        f"  lms load {shlex.quote(f'{folder}/{file}')} --identifier {_slug(manifest)} \\",
        f"    --context-length {settings.context_length} --gpu {gpu}",
    ]
    left_out = ["threads and micro-batch: set them in the app, under the model's load settings"]
    if settings.type_k != "f16" or settings.type_v != "f16":
        left_out.append(f"the KV cache of {settings.type_k}/{settings.type_v}: set it in the app as well")
    return Export(
        program="lm-studio",
        name="lm-studio.sh",
        content="\n".join(lines) + "\n",
        run="./lm-studio.sh",
        executable=True,
        left_out=tuple(left_out),
    )


def _env(manifest: DeploymentManifest, file: str) -> Export:
    lines = [
        *_heading(manifest),
        f"LLAMA_ARG_MODEL={file}",
        *(
            f"LLAMA_ARG_{_VARIABLES.get(name, name)}={value}"
            for name, value in _llama_arguments(manifest.settings)
        ),
    ]
    return Export(
        program="env",
        name="deployment.env",
        content="\n".join(lines) + "\n",
        run="env $(grep -v '^#' deployment.env) llama-server",
        left_out=_prompt_threads(manifest.settings, "the environment of llama-server"),
    )


_WRITERS: dict[Program, Callable[[DeploymentManifest, str], Export]] = {
    "ollama": _ollama,
    "llama-server": _llama_server,
    "lm-studio": _lm_studio,
    "env": _env,
}
PROGRAMS: tuple[Program, ...] = tuple(_WRITERS)

_VARIABLES = {"UBATCH_SIZE": "UBATCH", "PARALLEL": "N_PARALLEL"}


def _llama_arguments(settings: PinnedSettings) -> list[tuple[str, object]]:
    """llama-server's long options in upper case, most of which are also its variables behind LLAMA_ARG_."""
    arguments: list[tuple[str, object]] = [
        ("CTX_SIZE", settings.context_length),
        ("PARALLEL", 1),  # each further slot takes memory, and a share of the context
        ("UBATCH_SIZE", settings.micro_batch),
        ("CACHE_TYPE_K", settings.type_k),
        ("CACHE_TYPE_V", settings.type_v),
        ("FLASH_ATTN", settings.flash_attention),
        ("N_GPU_LAYERS", settings.offload_layers),
    ]
    if settings.threads is not None:
        arguments.append(("THREADS", settings.threads))
    return arguments


def _prompt_threads(settings: PinnedSettings, what: str) -> tuple[str, ...]:
    if settings.threads_batch in (None, settings.threads):
        return ()
    return (f"{settings.threads_batch} threads for prompts: {what} has one number for both",)


def _heading(manifest: DeploymentManifest) -> list[str]:
    assert manifest.file is not None
    return [
        _comment(f"{manifest.label}, pinned by slm-advisor {manifest.tool_version} on {manifest.pinned_at}"),
        _comment(f"sha256 {manifest.file.sha256}"),
        _comment(f"licence: {manifest.model.license or 'not known'}"),
    ]


def _slug(manifest: DeploymentManifest) -> str:
    """The deployment's name as registries of models take it."""
    return re.sub(r"[^a-z0-9._-]+", "-", f"{manifest.model.name}-{manifest.variant}".lower()).strip("-._")


def _comment(text: str) -> str:
    """A line that stays a comment whatever the manifest says."""
    return "# " + "".join(letter if letter.isprintable() else " " for letter in text)
