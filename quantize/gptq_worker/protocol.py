"""What is said between the program and its torch process: one job in, then messages, one JSON line each."""

from __future__ import annotations

from typing import Literal

import msgspec

from profiles.engine.protocol import ChunkCompared

Device = Literal["auto", "cpu", "cuda"]


class Quantize(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Quantize the model in `folder`; the checkpoint goes to `out`, all that is temporary to `scratch`."""

    folder: str
    out: str
    scratch: str
    bits: int
    group_size: int
    act_order: bool
    rest_dtype: Literal["F16", "BF16"]
    text: str
    context: int  # tokens of a sample
    samples: int | None  # at most so many
    device: Device


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load the checkpoint in `folder` as transformers does for anybody, and predict one token."""

    folder: str


class Compare(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Predict `text` with two models. `built` is a GPTQ checkpoint or a folder like `source`."""

    built: str
    source: str
    text: str
    context: int
    chunks: int | None
    device: Device


Job = Quantize | Load | Compare


class Started(msgspec.Struct, frozen=True, tag=True):
    """The job was understood and its parts are there: versions of the libraries, what it runs on, how far it goes."""

    versions: dict[str, str]
    device: str
    total: int  # layers, or chunks


class Step(msgspec.Struct, frozen=True, tag=True):
    """So many layers are done, or a phase began."""

    phase: Literal["quantizing", "writing"]
    done: int
    total: int


class Quantized(msgspec.Struct, frozen=True, tag=True):
    """The checkpoint is written. `modules`: the weight matrices that were quantized, by name."""

    modules: tuple[str, ...]
    samples: int
    peak_memory_bytes: int | None


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """Transformers loaded the checkpoint, and all it predicts are numbers. `kernel`: the class of its matrices.

    `needs_backend`: it had to be told to take this backend, since the one of its own choice failed.
    """

    kernel: str
    modules: int
    needs_backend: str | None


class Done(msgspec.Struct, frozen=True, tag=True):
    """There is nothing more to come."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Why the job was not done."""

    kind: Literal["missing", "refused", "memory", "error"]
    message: str


Message = Started | Step | Quantized | Loaded | ChunkCompared | Done | Failed
