"""What crosses the pipe between `client` and `worker`: one JSON document a line, each way.

Sizes are in bytes. Tensor types and file types travel as the engine's own numbers (`ggml_type`,
`llama_ftype`), so that this package needs no table of them; names come back as the engine spells them.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

FlashAttention = Literal["auto", "on", "off"]

# The engine's 32-bit integers: a larger number would wrap around there without a word.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Threads = Annotated[int, msgspec.Meta(ge=1, le=512)]  # GGML_MAX_N_THREADS


class Describe(msgspec.Struct, frozen=True, tag=True):
    """Which engine is this?"""


DeviceKind = Literal["cpu", "gpu", "igpu", "accelerator"]


class EngineDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Something the engine can compute on. An igpu shares the main memory, an accelerator helps the processor."""

    name: str  # "CUDA0"
    description: str  # "NVIDIA GeForce RTX 4090"
    kind: DeviceKind
    backend: str  # the engine's name: "CPU", "CUDA", "ROCm", "MTL", "Vulkan", "SYCL"
    free_bytes: int | None = None
    total_bytes: int | None = None


class EngineVersion(msgspec.Struct, frozen=True, tag=True):
    """`package` is llama-cpp-python's version, `ggml` and `commit` what the library says of itself."""

    package: str
    ggml: str | None = None
    commit: str | None = None
    features: str = ""  # the engine's line on what it was compiled with
    devices: tuple[EngineDevice, ...] = ()


class TypeChoices(msgspec.Struct, frozen=True):
    """Tensor types (ggml_type) that a user sets against what the file type's mixture would choose.

    `overrides` are regular expressions on tensor names, the first that matches counts.
    """

    output: int | None = None
    embedding: int | None = None
    overrides: tuple[tuple[str, int], ...] = ()


class QuantizeDryRun(msgspec.Struct, frozen=True, tag=True):
    """Which type would each tensor of the GGUF at `path` get under `ftype`? Nothing is written.

    Some mixtures depend on whether there is an importance matrix, not on what is in it: `imatrix` says so.
    """

    path: str
    ftype: int
    imatrix: bool = False
    types: TypeChoices = TypeChoices()


class Quantize(msgspec.Struct, frozen=True, tag=True):
    """Quantize the GGUF at `path` (the first part of one in parts) to `out`, which is overwritten.

    `imatrix` holds the mean squares of each tensor's activations by column, as 32-bit floats. `metadata` is added
    to the file's own.
    """

    path: str
    out: str
    ftype: int
    types: TypeChoices = TypeChoices()
    imatrix: dict[str, bytes] | None = None
    metadata: dict[str, int | str] = {}
    threads: Threads | None = None


class TensorPlan(msgspec.Struct, frozen=True, array_like=True):
    """One tensor of the quantized file."""

    name: str
    type: str  # the engine's name: "f32", "q4_K", "iq2_xxs"
    bytes: int


class QuantizePlan(msgspec.Struct, frozen=True, tag=True):
    """Every tensor of the quantized file, in the engine's order."""

    tensors: tuple[TensorPlan, ...]


class Quantized(msgspec.Struct, frozen=True, tag=True):
    """It is written. `fallback` counts tensors whose rows do not fit the type that the mixture chose."""

    fallback: int


class MemoryQuestion(msgspec.Struct, frozen=True, tag=True):
    """What would the engine allocate for this model and context? Nothing is allocated.

    `n_outputs` is how many rows of logits a micro-batch can ask for: None, the engine's default, means all.
    """

    path: str
    n_ctx: int
    n_ubatch: int = 512
    n_batch: int = 2048
    type_k: int = 1
    type_v: int = 1
    flash_attention: FlashAttention = "auto"
    n_parallel: int = 1
    n_outputs: int | None = None


class CachePart(msgspec.Struct, frozen=True, array_like=True):
    """One KV cache of a context: sliding-window models have two.

    The engine prints mebibytes with two decimals, so the byte counts are within 5,243 of the truth.
    """

    cells: int
    layers: int
    k_bytes: int
    v_bytes: int


class StatePart(msgspec.Struct, frozen=True, array_like=True):
    """The recurrent state of a context, all layers together, as precise as `CachePart`."""

    cells: int
    layers: int
    conv_bytes: int
    state_bytes: int


class MemoryReport(msgspec.Struct, frozen=True, tag=True):
    """What the engine says it would allocate; `compute` maps a buffer type ("CPU") to bytes."""

    caches: tuple[CachePart, ...]
    states: tuple[StatePart, ...]
    compute: dict[str, int]
    output_bytes: int
    flash_attention: bool

    @property
    def kv_cache_bytes(self) -> int:
        return sum(part.k_bytes + part.v_bytes for part in self.caches)

    @property
    def state_bytes(self) -> int:
        return sum(part.conv_bytes + part.state_bytes for part in self.states)

    @property
    def compute_bytes(self) -> int:
        return sum(self.compute.values())


class LoadModel(msgspec.Struct, frozen=True, tag=True):
    """Load the GGUF at `path` to run it. Frees the model loaded before and its context first, so that a refusal
    leaves none.

    `gpu_layers` counts from the last layer, the output included, as llama.cpp's `-ngl`; -1 means all.
    """

    path: str
    gpu_layers: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] = 0
    use_mmap: bool = True


class ModelLoaded(msgspec.Struct, frozen=True, tag=True):
    """The model as the engine sees it; `load_s` is the time from the request to the loaded model.

    With a memory map, most of the file is read when it is first used and not in `load_s`.
    """

    description: str  # the engine's words: "llama 135M Q4_1"
    architecture: str
    n_layer: int
    n_vocab: int
    n_ctx_train: int
    n_params: int
    tensor_bytes: int
    load_s: float


class OpenContext(msgspec.Struct, frozen=True, tag=True):
    """Make a context for the loaded model, in place of the one before.

    `n_batch` tokens are handed over at once, `n_ubatch` of them are computed at once. `threads` generate
    tokens and `threads_batch` process prompts; None means one for each physical core this process may use, and
    for `threads_batch` the same as `threads`.
    """

    n_ctx: Size
    n_batch: Size = 2048
    n_ubatch: Size = 512
    threads: Threads | None = None
    threads_batch: Threads | None = None
    type_k: int = 1
    type_v: int = 1
    flash_attention: FlashAttention = "auto"
    offload_kv: bool = True
    n_parallel: Size = 1


class ContextOpened(msgspec.Struct, frozen=True, tag=True):
    """What the engine made of it: it rounds `n_ctx` up and may do without flash attention.

    `compute_bytes` maps a buffer type ("CPU", "CUDA0") to the bytes reserved there.
    """

    n_ctx: int
    flash_attention: bool
    kv_cache_bytes: int
    compute_bytes: dict[str, int]
    state_bytes: int = 0  # of recurrent layers
    threads: int = 1
    threads_batch: int = 1


class RunTest(msgspec.Struct, frozen=True, tag=True):
    """Time one repetition of llama-bench's test: `n_prompt` tokens processed, then `n_gen` generated.

    The cache is cleared and `depth` tokens are put into it before the clock starts; their state is kept, so
    that the next test at this depth need not compute them again. With `warmup` the test is run once before,
    as llama-bench does: the prompt in full, and one token generated.
    """

    n_prompt: Count = 0
    n_gen: Count = 0
    depth: Count = 0
    warmup: bool = False


class TestTiming(msgspec.Struct, frozen=True, tag=True):
    """Seconds for the prompt and for all generated tokens; None for a phase the test does not have."""

    __test__: ClassVar[bool] = False  # its name must not make pytest think it holds tests

    prompt_s: float | None
    gen_s: float | None


class ChatMessage(msgspec.Struct, frozen=True, array_like=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class StartAnswer(msgspec.Struct, frozen=True, tag=True):
    """Begin an answer to a conversation in the open context, in place of the one before.

    What the cache holds of it already is not computed again. `temperature` 0 takes the likeliest token each time.
    """

    messages: tuple[ChatMessage, ...]
    temperature: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.7
    seed: Count = 0


class AnswerStarted(msgspec.Struct, frozen=True, tag=True):
    """`templated`: the model's own chat template was used; else the turns are plain lines."""

    n_prompt: int
    n_reused: int  # of them in the cache already
    templated: bool


class ContinueAnswer(msgspec.Struct, frozen=True, tag=True):
    """Do a little: read up to `prompt_tokens` of what is left of the prompt, or else write up to `tokens`."""

    tokens: Size = 4
    prompt_tokens: Size = 256


class AnswerPart(msgspec.Struct, frozen=True, tag=True):
    """What came of it. `end` says that the answer is over: the model is done, or the context is full."""

    text: str
    tokens: int
    prompt_left: int
    seconds: float
    end: Literal["done", "full"] | None = None


class SampleBlocks(msgspec.Struct, frozen=True, tag=True):
    """Make `blocks` valid blocks of each tensor type ("Q4_K", "F16"), of weights drawn from N(0, 0.02²).

    For IQ1 and IQ2 types the engine first spends some seconds on tables, once in the worker's life.
    """

    types: tuple[str, ...]
    blocks: Size


class Blocks(msgspec.Struct, frozen=True, tag=True):
    """The packed bytes by type, and the seconds that packing them took on one thread."""

    data: dict[str, bytes]
    seconds: dict[str, float] = {}


class MemoryUse(msgspec.Struct, frozen=True, tag=True):
    """How much memory does the worker take?"""


class MemoryUsed(msgspec.Struct, frozen=True, tag=True):
    """Memory of the worker process, Python included.

    The peak is since the last `LoadModel` on Linux, elsewhere since the worker started. `saved_state_bytes` is
    the part that only holds the state of a depth: running the model without a test would not take it.
    """

    resident_bytes: int
    peak_resident_bytes: int
    saved_state_bytes: int = 0


class OpenCalibration(msgspec.Struct, frozen=True, tag=True):
    """Load a model and a text to collect an importance matrix from, in place of the ones before.

    The text is cut into chunks of `n_ctx` tokens, at most `chunks` of them; what is left over is not used.
    """

    path: str
    text: str  # path of a UTF-8 file
    n_ctx: int = 512
    chunks: int | None = None
    threads: int | None = None


class CalibrationOpened(msgspec.Struct, frozen=True, tag=True):
    """How much there is to read."""

    n_tokens: int
    chunks: int


class CalibrateChunk(msgspec.Struct, frozen=True, tag=True):
    """Read one chunk of the text of `OpenCalibration`, counted from 0, and add what its tokens activate."""

    chunk: int


class ChunkCalibrated(msgspec.Struct, frozen=True, tag=True):
    """Done. `tensors` is the number of weight tensors seen so far."""

    tensors: int


class TakeImatrix(msgspec.Struct, frozen=True, tag=True):
    """Hand over what was collected, and free the model."""


class ImatrixTensor(msgspec.Struct, frozen=True, array_like=True):
    """Activations that one weight tensor was multiplied with.

    `sums` are the sums of their squares by column, little-endian 32-bit floats, one row for each of the tensor's
    matrices (experts). `counts` says how many activations went into a row; one number stands for all rows alike.
    """

    sums: bytes
    counts: tuple[int, ...]


class ImatrixTaken(msgspec.Struct, frozen=True, tag=True):
    """The importance matrix by weight tensor."""

    tensors: dict[str, ImatrixTensor]


class OpenComparison(msgspec.Struct, frozen=True, tag=True):
    """Load two models of one vocabulary, and a text to read with both, in place of the ones before.

    Chunks are as in `OpenCalibration`.
    """

    built: str
    reference: str
    text: str  # path of a UTF-8 file
    n_ctx: int = 512
    chunks: int | None = None
    threads: int | None = None


class ComparisonOpened(msgspec.Struct, frozen=True, tag=True):
    """How much there is to read, and what the models are in the engine's words: "llama 135M Q4_1"."""

    n_tokens: int
    chunks: int
    n_vocab: int
    built: str
    reference: str


class CompareChunk(msgspec.Struct, frozen=True, tag=True):
    """Predict the second half of a chunk, counted from 0, with both models."""

    chunk: int


class ChunkCompared(msgspec.Struct, frozen=True, tag=True):
    """One number a predicted token in each field; logarithms are natural.

    `built_nll` and `reference_nll` are minus the logarithm of the probability that the model gave to the token
    of the text. `kl_divergence` is that of the built model's distribution from the reference's. `same_top` says
    whether both models think the same token the likeliest.
    """

    built_nll: tuple[float, ...]
    reference_nll: tuple[float, ...]
    kl_divergence: tuple[float, ...]
    same_top: tuple[bool, ...]


class EngineFailure(msgspec.Struct, frozen=True, tag=True):
    """The engine could not answer. A value, not an exception: callers decide what a failure means to them.

    `refused`: the engine said no and is well. `crashed`: it ended itself (a failed assertion). `killed`: the
    system ended it, most often for want of memory. `timeout`: it took too long and was ended. `closed`: another
    thread closed the engine meanwhile. `missing`: llama-cpp-python is not installed.
    """

    kind: Literal["missing", "refused", "crashed", "killed", "timeout", "closed"]
    message: str
    last_words: str = ""


Request = (
    Describe
    | QuantizeDryRun
    | Quantize
    | MemoryQuestion
    | LoadModel
    | OpenContext
    | RunTest
    | StartAnswer
    | ContinueAnswer
    | SampleBlocks
    | MemoryUse
    | OpenCalibration
    | CalibrateChunk
    | TakeImatrix
    | OpenComparison
    | CompareChunk
)
Reply = (
    EngineVersion
    | QuantizePlan
    | Quantized
    | MemoryReport
    | ModelLoaded
    | ContextOpened
    | TestTiming
    | AnswerStarted
    | AnswerPart
    | Blocks
    | MemoryUsed
    | CalibrationOpened
    | ChunkCalibrated
    | ImatrixTaken
    | ComparisonOpened
    | ChunkCompared
    | EngineFailure
)
