"""An importance matrix: which columns of each weight tensor meet large activations.

While a text is read, the engine shows every tensor it computes (`cb_eval`). For each product of a weight tensor
with activations, the squares of the activations are summed by column, for each expert on its own. What is
collected is what llama.cpp's tools/imatrix/imatrix.cpp collects: tensors of the blocks, products of 16 tokens or
more, and all products with experts.

Two things are left out that cost time and change nothing. Products that share their activations (Q, K and V) are
summed once. And after the last product of the blocks the computation is called off: the logits, a third of the
work for a small model, are not needed.
"""

from __future__ import annotations

import ctypes
from typing import Any, TypeVar

import llama_cpp
import numpy as np
import numpy.typing as npt

from profiles.engine.binding.chunks import Chunks, Reader
from profiles.engine.binding.ggml import Tensor, check_tensor_layout, operations, tensor_data
from profiles.engine.binding.log import RefusedError
from profiles.engine.binding.session import Session
from profiles.engine.protocol import (
    CalibrationOpened,
    ChunkCalibrated,
    ImatrixTaken,
    ImatrixTensor,
    LoadModel,
    OpenCalibration,
    OpenContext,
)

_LEAST_TOKENS = 16
_F32 = 0  # GGML_TYPE_F32

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.signedinteger[Any]]
Number = TypeVar("Number", np.float32, np.int32)


class Calibration:
    """A model that reads a text while its activations are summed."""

    def __init__(self, request: OpenCalibration) -> None:
        check_tensor_layout()
        self._session = Session()
        try:
            self._session.load(LoadModel(request.path))
            assert self._session.model is not None
            self._chunks = Chunks(self._session.model, request.text, request.n_ctx, request.chunks)
            self._sums = _Sums()
            n = request.n_ctx
            # One micro-batch a chunk: a computation is one chunk, whole.
            shape = OpenContext(n, n_batch=n, n_ubatch=n, threads=request.threads)
            self._session.open(shape, self._sums.callback)
            assert self._session.context is not None
            self._reader = Reader(self._session.context, request.path, n)
        except RefusedError:
            self._session.close()
            raise

    def opened(self) -> CalibrationOpened:
        return CalibrationOpened(self._chunks.n_tokens, self._chunks.count)

    def read(self, chunk: int) -> ChunkCalibrated:
        tokens = self._chunks[chunk]
        self._reader.forget()
        self._sums.begin()
        # Logits of every token are asked for, or the last block would compute no more than the last token.
        self._reader.read(tokens, 0, logits=True)
        self._sums.end()
        return ChunkCalibrated(len(self._sums.by_tensor))

    def take(self) -> ImatrixTaken:
        return ImatrixTaken({name: sums.packed() for name, sums in self._sums.by_tensor.items()})

    def close(self) -> None:
        self._reader.close()
        self._session.close()


class _TensorSums:
    """Sums of squares in double precision, a row for each matrix; `counts` has one number, or one for each row."""

    def __init__(self, values: npt.NDArray[np.float64], counts: Counts) -> None:
        self.values = values
        self.counts = counts

    def packed(self) -> ImatrixTensor:
        return ImatrixTensor(self.values.astype("<f4").tobytes(), tuple(self.counts.tolist()))


class _Sums:
    """The callback, and what it has summed."""

    def __init__(self) -> None:
        self.by_tensor: dict[str, _TensorSums] = {}
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self._called)
        self._product = operations()["MUL_MAT"]
        self._expert_product = operations()["MUL_MAT_ID"]
        # Of this chunk: address of the activations -> their sums and count.
        self._shared: dict[int, tuple[Floats, Counts]] = {}
        self._products = 0  # of a chunk; 0 while that is not known
        self._seen = 0
        self._error: Exception | None = None

    def begin(self) -> None:
        self._shared.clear()
        self._seen = 0

    def end(self) -> None:
        """Raises RefusedError if something went wrong since `begin`."""
        if self._error is not None:
            raise RefusedError(f"the activations could not be read: {self._error}")
        if not self._seen:
            raise RefusedError("the engine showed no product of a weight tensor")
        self._products = self._seen

    def _called(self, address: int, ask: bool, _: object) -> bool:
        """ask: is this tensor wanted? Else: here it is; False ends the computation."""
        try:
            tensor = Tensor.from_address(address)
            return self._wanted(tensor) if ask else self._take(tensor)
        except Exception as error:  # it cannot pass through the engine
            self._error = self._error or error
            return False

    def _wanted(self, tensor: Tensor) -> bool:
        if tensor.op == self._expert_product:
            return True
        if tensor.op != self._product:
            return False
        activations = tensor.src[1].contents
        if activations.ne[1] < _LEAST_TOKENS or activations.type != _F32:
            return False
        name = _weight_name(tensor)
        if not name.startswith("blk."):
            return False
        known = self._shared.get(ctypes.addressof(activations))
        if known is None:
            return True
        self._add(name, *known)
        return False

    def _take(self, tensor: Tensor) -> bool:
        weights, activations = tensor.src[0].contents, tensor.src[1].contents
        name, values = _weight_name(tensor), _array(activations, np.float32)
        if tensor.op == self._expert_product:
            experts = _array(tensor.src[2].contents, np.int32)[0, 0]
            self._add(name, *_by_expert(values[0], experts, weights.ne[2]))
        else:
            sums = _by_matrix(values, weights.ne[2], weights.ne[3])
            count = np.array([values[..., 0].size // len(sums)])
            if len(sums) == 1:
                self._shared[ctypes.addressof(activations)] = sums, count
            self._add(name, sums, count)
        return self._seen != self._products

    def _add(self, name: str, sums: Floats, counts: Counts) -> None:
        self._seen += 1
        if (total := self.by_tensor.get(name)) is None:
            self.by_tensor[name] = _TensorSums(sums.astype(np.float64), counts.astype(np.int64))
        else:
            total.values += sums
            total.counts += counts


def _weight_name(product: Tensor) -> str:
    """The name of the weights in a product; a copy on an accelerator is called "CUDA0#blk.0.attn_k.weight#0"."""
    name: str = product.src[0].contents.name.decode(errors="replace")
    return name.split("#")[1] if "#" in name else name


def _array(tensor: Tensor, kind: type[Number]) -> npt.NDArray[Number]:
    """The tensor's numbers where they lie, in numpy's order: the dimension that ggml counts first comes last."""
    return np.ndarray(
        tuple(tensor.ne)[::-1], kind, memoryview(tensor_data(tensor)), strides=tuple(tensor.nb)[::-1]
    )


def _by_matrix(values: Floats, n2: int, n3: int) -> Floats:
    """Sums of squares by column for each of `n2 x n3` matrices that the activations go round."""
    if n2 * n3 == 1:
        return _squares(values.reshape(-1, values.shape[-1]))[np.newaxis]
    sums = np.zeros((n2 * n3, values.shape[-1]), np.float32)
    for i3 in range(values.shape[0]):
        for i2 in range(values.shape[1]):
            sums[i3 % n3 * n2 + i2 % n2] += _squares(values[i3, i2])
    return sums


def _by_expert(values: Floats, experts: Counts, n_experts: int) -> tuple[Floats, Counts]:
    """Sums and counts by expert; `experts` holds those of each token, `values` a row for all or for each of them."""
    sums = np.zeros((n_experts, values.shape[-1]), np.float32)
    counts = np.zeros(n_experts, np.int64)
    for expert in np.unique(experts):
        token, place = np.nonzero(experts == expert)
        sums[expert] = _squares(values[token, place % values.shape[1]])
        counts[expert] = len(token)
    return sums, counts


def _squares(rows: Floats) -> Floats:
    sums: Floats = np.einsum("ij,ij->j", rows, rows)
    return sums
