"""Recurrent layers computed step by step, so that gates, cells and outputs can be rounded.

torch computes a whole sequence in one call, inside of which no Quantizer can stand. Written out, it takes the time of a
loop in Python.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lpsgld.bnn.network.written_out import WrittenOut

State = tuple[Tensor, ...]  # h, and c of an LSTM: [N, H] each


class _Unrolled(WrittenOut):
    """A recurrent layer, step by step. A class says in `advanced` what one step computes."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | State | None = None):
        """As torch has it."""
        x, lengths, many = input, None, True
        if isinstance(input, PackedSequence):
            x, lengths = pad_packed_sequence(input)
            lengths = lengths.to(x.device)
        else:
            many = input.dim() == 3
            x = input if many else input.unsqueeze(1)
            x = x.transpose(0, 1) if many and self.batch_first else x
        x, end = self._run(x, lengths, self._start(x, hx, many))
        if isinstance(input, PackedSequence):
            x = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=input.unsorted_indices is None)
        else:
            x = x.transpose(0, 1) if many and self.batch_first else x if many else x.squeeze(1)
        end = tuple(s if many else s.squeeze(1) for s in end)
        return x, end if isinstance(self, nn.LSTM) else end[0]

    def _start(self, x: Tensor, hx: Tensor | State | None, many: bool) -> State:
        """[layers · directions, N, H] of each tensor of the state."""
        rows = self.num_layers * (1 + self.bidirectional)
        if hx is None:
            sizes = (self.proj_size or self.hidden_size, self.hidden_size)[: 1 + isinstance(self, nn.LSTM)]
            return tuple(x.new_zeros(rows, x.size(1), size) for size in sizes)
        start = hx if isinstance(hx, tuple) else (hx,)
        return start if many else tuple(s.unsqueeze(1) for s in start)

    def _run(self, x: Tensor, lengths: Tensor | None, start: State) -> tuple[Tensor, State]:
        """All layers over x [time, N, F]: outputs and last states."""
        ends = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
                w_x, w_h, b_x, b_h, w_r = (getattr(self, f"{name}_l{layer}{suffix}", None) for name in names)
                state = tuple(s[len(ends)] for s in start)
                inputs, found = F.linear(x, w_x, b_x), [None] * len(x)
                for t in reversed(range(len(x))) if suffix else range(len(x)):
                    new = self.advanced(inputs[t], F.linear(state[0], w_h, b_h), state, w_r)
                    if lengths is not None:  # a sequence that is over, or has not begun from its end, waits
                        new = tuple(torch.where((t < lengths)[:, None], a, b) for a, b in zip(new, state, strict=True))
                    state, found[t] = new, new[0]
                outputs.append(torch.stack(found))
                ends.append(state)
            x = torch.cat(outputs, -1)
        return x, tuple(torch.stack(part) for part in zip(*ends, strict=True))

    def advanced(self, x: Tensor, h: Tensor, state: State, w_r: Tensor | None) -> State:
        """The state after one step. x, h: what the input and the last output add to the gates."""
        raise NotImplementedError


class QuantizedRNN(_Unrolled, nn.RNN):
    """`nn.RNN` with a Quantizer on its output."""

    kinds = ("output",)
    plain = nn.RNN

    def advanced(self, x: Tensor, h: Tensor, state: State, w_r: Tensor | None) -> State:
        return (self.quantizers["output"](torch.tanh(x + h) if self.nonlinearity == "tanh" else F.relu(x + h)),)


class QuantizedGRU(_Unrolled, nn.GRU):
    """`nn.GRU` with Quantizers on its gates r, z, on its candidate n, and on its output."""

    kinds = ("gates", "candidate", "output")
    plain = nn.GRU

    def advanced(self, x: Tensor, h: Tensor, state: State, w_r: Tensor | None) -> State:
        size = 2 * self.hidden_size
        r, z = self.quantizers["gates"](torch.sigmoid(x[:, :size] + h[:, :size])).chunk(2, 1)
        n = self.quantizers["candidate"](torch.tanh(x[:, size:] + r * h[:, size:]))
        return (self.quantizers["output"]((1 - z) * n + z * state[0]),)


class QuantizedLSTM(_Unrolled, nn.LSTM):
    """`nn.LSTM` with Quantizers on its gates i, f, g, o, on its cell, and on its output."""

    kinds = ("gates", "cell", "output")
    plain = nn.LSTM

    def advanced(self, x: Tensor, h: Tensor, state: State, w_r: Tensor | None) -> State:
        i, f, g, o = (x + h).chunk(4, 1)
        gates = torch.cat([torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)], 1)
        i, f, g, o = self.quantizers["gates"](gates).chunk(4, 1)
        c = self.quantizers["cell"](f * state[1] + i * g)
        h = o * torch.tanh(c)
        return self.quantizers["output"](h if w_r is None else F.linear(h, w_r)), c
