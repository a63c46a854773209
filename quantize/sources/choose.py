"""Which files of a repository to take, from their names and sizes alone. Pure: it asks nobody.

People name files in many ways. What is known of them here is in two tables: how the end of a name says its
precision or preset, and which words mean that a file is not the model itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import msgspec

from quantize.errors import UnknownPresetError
from quantize.safetensors_header import INDEX
from quantize.sources.names import is_safe, part_of
from quantize.sources.source import PRECISIONS, SourceFile
from quantize.types import TENSOR_TYPES, parse_preset

MAX_HTTP_BYTES = 50_000_000_000
"""The Hub serves larger files only through Xet, which cannot go on with a half of one."""

_TAG = re.compile(
    r"(?:^|[-._])(?P<dynamic>UD[-_])?(?P<tag>BF16|FP?16|FP?32|MXFP4(?:_MOE)?|I?Q\d(?:_[A-Z0-9]+)*)$",
    re.IGNORECASE,
)
_AFTER_THE_TAG = re.compile(r"[-_](it|instruct|chat)$", re.IGNORECASE)  # Google's "gemma-4-E2B_q4_0-it"
# Words in a file's name that say it is something else than the model whose name does not have them.
_OTHER_THINGS = {
    *("mmproj", "projector", "imatrix", "lora", "adapter", "vocab", "vocoder", "wavtokenizer"),
    *("draft", "eagle", "eagle3", "mtp", "qat"),
}
# A file at full precision is this much of (weights x bytes of each): norms and an untied head make it larger, and what
# leaves most weights quantized under the name of F16 makes it smaller.
_LEAST, _MOST = 0.8, 1.6


class Choice(msgspec.Struct, frozen=True):
    """Files to take. `tag` is the precision or preset their name promises; "" for safetensors."""

    files: tuple[SourceFile, ...]
    tag: str = ""


def choose_gguf(
    repository: str,
    files: Iterable[SourceFile],
    wanted: Sequence[str],
    *,
    model: str | None = None,
    parameters: int | None = None,
) -> Choice | str:
    """The GGUF of the first tag of `wanted` that `repository` has, all its parts in order; else the reason.

    `model` is the model's own repository: its name may hold words that otherwise mean another thing ("qat").
    With `parameters` a file of full precision must have a size that many weights can have.
    """
    own_words = _words(repository if model is None else model)
    if model is not None and "qat" in _words(repository) - own_words and set(wanted) <= PRECISIONS.keys():
        return f"{repository} holds weights that were trained again for a quantization"
    candidates: dict[str, list[Choice]] = {}
    for stem, parts in _groups(files, ".gguf"):
        tag = tag_of(stem)
        if (
            tag is not None
            and tag in wanted
            and not _words(PurePosixPath(stem).name) & (_OTHER_THINGS - own_words)
        ):
            candidates.setdefault(tag, []).append(Choice(parts, tag))
    reasons = []
    for tag in wanted:
        found = candidates.get(tag, [])
        fitting = [choice for choice in found if _size_fits(choice, parameters)]
        small = [choice for choice in fitting if all(file.bytes <= MAX_HTTP_BYTES for file in choice.files)]
        best = _best(repository, small)
        if best is not None:
            return best
        if small:
            reasons.append(f"{repository} has several {tag} GGUFs of different models")
        elif fitting:
            reasons.append(f"{fitting[0].files[0].name} of {repository} is larger than 50 GB")
        elif found:
            reasons.append(f"{found[0].files[0].name} of {repository} has the size of another model")
    return reasons[0] if reasons else f"{repository} has no {' or '.join(wanted)} GGUF"


def tag_of(stem: str) -> str | None:
    """The precision or preset that a file's name without ".gguf" ends in, or the name of its folder.

    "BF16" for "x-bf16", "F16" for "x.fp16", "Q4_K_M" for "x-q4_k_m"; None for what is no preset of the engine,
    such as Unsloth's dynamic "UD-Q4_K_XL".
    """
    path = PurePosixPath(stem)
    for text in (_AFTER_THE_TAG.sub("", path.name), path.parent.name):
        match = _TAG.search(text)
        if match is None:
            continue
        tag = match["tag"].upper()
        if tag in ("F32", "FP32"):
            return "F32"
        try:
            return None if match["dynamic"] else parse_preset(tag)
        except UnknownPresetError:
            return None
    return None


def _groups(files: Iterable[SourceFile], ending: str) -> list[tuple[str, tuple[SourceFile, ...]]]:
    """Files by name without ending and part number; a split one only where every part is there."""
    parts: dict[tuple[str, int], dict[int, SourceFile]] = {}
    for file in files:
        empty = file.bytes == 0 and (
            file.sha256 or file.git_oid
        )  # without a hash, nothing is known of it yet
        if file.name.lower().endswith(ending) and is_safe(file.name) and not empty:
            stem, number, count = part_of(file.name[: -len(ending)])
            parts.setdefault((stem, count), {})[number] = file
    return [
        (stem, tuple(file for _, file in sorted(found.items())))
        for (stem, count), found in sorted(parts.items())
        if len(found) == count and min(found) == 1 and max(found) == count
    ]


def _size_fits(choice: Choice, parameters: int | None) -> bool:
    if parameters is None or choice.tag not in PRECISIONS or not all(file.bytes for file in choice.files):
        return True
    share = sum(file.bytes for file in choice.files) / (parameters * TENSOR_TYPES[choice.tag].type_size)
    return _LEAST <= share <= _MOST


def _best(repository: str, choices: Sequence[Choice]) -> Choice | None:
    """Of several files with one tag: the one named as the repository; of copies, the one in fewest pieces."""
    base = _plain(re.sub(r"[-_.]GGUF$", "", repository.partition("/")[2], flags=re.IGNORECASE))
    named = [choice for choice in choices if _plain(_name_without_tag(choice)) == base]
    left = sorted(named or choices, key=lambda choice: (len(choice.files), choice.files[0].name))
    if not left:
        return None
    sizes = [sum(file.bytes for file in choice.files) for choice in left]
    return left[0] if max(sizes) <= 1.02 * min(sizes) else None


def _name_without_tag(choice: Choice) -> str:
    stem = part_of(PurePosixPath(choice.files[0].name).name[: -len(".gguf")])[0]
    return _TAG.sub("", stem)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


# --- safetensors

_COPIES = re.compile(r"^(consolidated|adapter|optimizer|scheduler|training)|\.(fp16|bf16|fp32|int8|ema)[.-]")
# What a tokenizer, a converter and a licence may be in, at the top of the repository.
COMPANIONS = re.compile(
    r"config\.json|generation_config\.json|model\.safetensors\.index\.json"
    r"|tokenizer(_config)?\.json|tokenizer\.model(\.v\d+)?|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.(json|txt)|merges\.txt|spiece\.model|sentencepiece\.bpe\.model|tekken\.json|[\w.-]*\.tiktoken"
    r"|chat_template\.(jinja|json)|(LICENSE|LICENCE|NOTICE|USE_POLICY)[\w.-]*",
    re.IGNORECASE,
)
_MAX_COMPANION_BYTES = 200_000_000  # the largest tokenizers have some 40 MB


def choose_safetensors(repository: str, files: Iterable[SourceFile]) -> Choice | str:
    """The safetensors of `repository` with config, tokenizer and licence, nothing twice; else the reason."""
    top = [file for file in files if "/" not in file.name and is_safe(file.name)]
    names = {file.name for file in top}
    if "config.json" not in names:
        return f"{repository} has no config.json"
    weights = [file for file in top if not _COPIES.search(file.name.lower())]
    groups = _groups(weights, ".safetensors")
    if not groups:
        torn = any(file.name.endswith(".safetensors") for file in weights)
        if torn:
            return f"{repository} has an incomplete set of safetensors"
        return f"{repository} has no safetensors"
    split = {stem for stem, parts in groups if len(parts) > 1}
    # Beside a whole set of parts, "model.safetensors" is the same once more.
    groups = [(stem, parts) for stem, parts in groups if len(parts) > 1 or stem not in split]
    if INDEX not in names and any(stem == "model" for stem, _ in groups):
        groups = [(stem, parts) for stem, parts in groups if stem == "model"]
    chosen = tuple(file for _, parts in groups for file in parts)
    if (large := max(chosen, key=lambda file: file.bytes)).bytes > MAX_HTTP_BYTES:
        return f"{large.name} of {repository} is larger than 50 GB"
    companions = tuple(
        file
        for file in sorted(top, key=lambda file: file.name)
        if COMPANIONS.fullmatch(file.name) and file.bytes <= _MAX_COMPANION_BYTES
    )
    return Choice((*companions, *chosen))
