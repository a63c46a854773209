"""The weights of a GPTQ checkpoint as auto-gptq's format defines them.

A matrix of `in` columns and `out` rows is kept as

    qweight  int32 [in x bits/32, out]       the integers of a column, `bits` each, lowest bits first
    qzeros   int32 [groups, out x bits/32]   zero points less one, packed along the rows' numbers
    scales   float16 [groups, out]
    g_idx    int32 [in]                      the group of each column

and stands for  weight[row, column] = scale[group, row] x (integer - zero point).
"""

from __future__ import annotations

import torch
from torch import nn

WORD = 32


class PackedLinear(nn.Module):
    """A linear layer that unpacks its weights when it is used: a few bits a weight stay in memory."""

    def __init__(self, parts: dict[str, torch.Tensor], bits: int, bias: torch.Tensor | None) -> None:
        super().__init__()
        self._bits = bits
        for name, tensor in parts.items():
            self.register_buffer(name, tensor)
        self.bias: torch.Tensor | None
        self.register_buffer("bias", bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        weight = unpack(dict(self.named_buffers(recurse=False)), self._bits).to(inputs.dtype)
        outputs = inputs @ weight
        return outputs if self.bias is None else outputs + self.bias.to(inputs.dtype)


def unpack(parts: dict[str, torch.Tensor], bits: int) -> torch.Tensor:
    """The weights of a matrix, 32-bit floats [in, out]."""
    integers = _unpacked(parts["qweight"], bits)
    zeros = (_unpacked(parts["qzeros"].T, bits).T + 1) & ((1 << bits) - 1)
    group = parts["g_idx"].long()
    return (integers - zeros[group]).float().mul_(parts["scales"].float()[group])


def _unpacked(words: torch.Tensor, bits: int) -> torch.Tensor:
    """The integers in each column of `words`, lowest bits first."""
    rows, columns = words.shape
    mask = (1 << bits) - 1
    if WORD % bits == 0:
        shifts = torch.arange(0, WORD, bits, dtype=torch.int32, device=words.device)
        # The sign that moves in from the left is masked off.
        return ((words[:, None] >> shifts[:, None]) & mask).reshape(rows * len(shifts), columns)
    # Three bits run across the border of two words.
    place = torch.arange(rows * WORD // bits, device=words.device) * bits
    word, shift = place // WORD, (place % WORD)[:, None]
    long = words.long() & 0xFFFFFFFF
    following = (word + 1).clamp(max=rows - 1)
    return (((long[word] >> shift) | (long[following] << (WORD - shift))) & mask).int()
