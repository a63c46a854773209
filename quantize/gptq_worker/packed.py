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
from torch.nn import functional

WORD = 32


class PackedLinear(nn.Module):
    """A linear layer that unpacks its weights when it is used: a few bits a weight stay in memory."""

    def __init__(self, parts: dict[str, torch.Tensor], bits: int, bias: torch.Tensor | None) -> None:
        super().__init__()
        self._bits = bits
        for name, tensor in parts.items():
            self.register_buffer(name, tensor)
        self.register_buffer("bias", bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        weight = unpack(dict(self.named_buffers(recurse=False)), self._bits)
        return functional.linear(inputs, weight.to(inputs.dtype), bias)


def unpack(parts: dict[str, torch.Tensor], bits: int) -> torch.Tensor:
    """The weights, 32-bit floats [out, in]."""
    integers = _unpacked(parts["qweight"].T, bits).T  # [in, out]
    zeros = (_unpacked(parts["qzeros"], bits) + 1) & ((1 << bits) - 1)  # [groups, out]
    group = parts["g_idx"].long()
    return (parts["scales"].float()[group] * (integers - zeros[group])).T


def _unpacked(words: torch.Tensor, bits: int) -> torch.Tensor:
    """The integers in each row of `words`, lowest bits first."""
    mask = (1 << bits) - 1
    place = torch.arange(words.shape[1] * WORD // bits, device=words.device) * bits
    word, shift = place // WORD, place % WORD
    if WORD % bits == 0:
        return (words[:, word] >> shift.int()) & mask  # the sign that moves in is masked off
    # Three bits run across the border of two words.
    long = words.long() & 0xFFFFFFFF
    following = (word + 1).clamp(max=words.shape[1] - 1)
    return ((long[:, word] >> shift) | (long[:, following] << (WORD - shift))) & mask
