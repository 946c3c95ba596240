"""Posterior samples of any network, in a folder: kept while it trains, averaged and judged later.

A sample is one file of `storage.py`, each parameter in the bits of its format. What is predicted, and of what data, is
told by a function of the network, so that any task is one: classes, numbers, the next token.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lpsgld import diagnostics, storage
from lpsgld.samplers.optimizer import LowPrecisionOptimizer
from lpsgld.storage import StorageError

Predict = Callable[[nn.Module], Tensor]
T = TypeVar("T")

_FILE = re.compile(r"chain-(\d+)-sample-(\d+)\.safetensors")


class Posterior:
    """The samples of a network in a folder, which is made with the first of them.

    net: the network whose `state_dict` is kept; samples are loaded into a copy of it, in `eval()` mode. optimizer:
    tells the format of each parameter (`SGLD.weights`); without one, all are kept in full precision. chain: the number
    of the chain that `keep` adds to; reading takes all chains of the folder.

    predict, in what follows: a function of the network that returns a tensor, the same number of predictions each time.
    Their probabilities (or other predictions) are what is averaged, not logits:

        posterior.average(lambda net: net(images).softmax(-1))
    """

    def __init__(
        self, folder: str | Path, net: nn.Module, optimizer: LowPrecisionOptimizer | None = None, *, chain: int = 0
    ):
        if not isinstance(chain, int) or chain < 0:
            raise ValueError(f"chain is {chain!r}, but must be a whole number from 0 up")
        self.folder, self.net, self.optimizer, self.chain = Path(folder), net, optimizer, chain
        self._named = type(net).__name__

    def __len__(self) -> int:
        return sum(map(len, self.chains))

    def __repr__(self) -> str:
        return f"Posterior({str(self.folder)!r}: {len(self)} samples of {len(self.chains)} chains)"

    @property
    def chains(self) -> list[list[Path]]:
        """The files of each chain, in the order in which they were kept."""
        files = self._files()
        return [[path for chain, _, path in files if chain == each] for each in sorted({chain for chain, *_ in files})]

    def keep(self, **origin: Any) -> Path:
        """Write what the network is now as one more sample; the path of its file.

        origin: whatever JSON can hold, such as the step; `storage.load_sample` reads it. Raises StorageError for a
        parameter off the grid of its format, FileError where the file cannot be written.
        """
        last = max((number for chain, number, _ in self._files() if chain == self.chain), default=-1)
        path = self.folder / f"chain-{self.chain:03}-sample-{last + 1:06}.safetensors"
        weight = None if self.optimizer is None else self.optimizer.weights(self.net)
        storage.save_sample(path, self.net, weight, {}, **origin)
        return path

    def members(self) -> Iterator[nn.Module]:
        """The network of each sample, one after the other: the first of each chain, the second of each, ...

        It is one network, whose weights change: use it before asking for the next. Raises StorageError for a damaged
        sample, and for one of another network.
        """
        yield from self._loaded([path for _, path in in_turn(self.chains)])

    def average(self, predict: Predict) -> Tensor:
        """The mean of what all samples predict. Raises StorageError if there is none."""
        total, count = 0.0, 0
        for found in self._predicted(predict, self.members()):
            total, count = total + found.double(), count + 1
        if not count:
            raise self._empty()
        return (total / count).to(found.dtype)

    def draws(self, predict: Predict) -> Tensor:
        """What each sample predicts, [chains, draws, ...], as many draws of each chain as the shortest one has."""
        shortest = min(map(len, self.chains), default=0)
        if shortest == 0:
            raise self._empty()
        return torch.stack(
            [torch.stack(list(self._predicted(predict, self._loaded(files[:shortest])))) for files in self.chains]
        )

    def rhat(self, predict: Predict) -> np.ndarray:
        """`diagnostics.rhat` of each prediction. Raises ValueError for fewer than 2 chains or 4 draws of each."""
        return diagnostics.rhat(self.draws(predict).cpu())

    def ess(self, predict: Predict) -> np.ndarray:
        """`diagnostics.effective_sample_size` of each prediction. Raises ValueError for fewer than 4 draws a chain."""
        return diagnostics.effective_sample_size(self.draws(predict).cpu())

    def _empty(self) -> StorageError:
        return StorageError(f"{self.folder} holds no sample: call keep() while the network trains")

    def _files(self) -> list[tuple[int, int, Path]]:
        """(chain, number, file) of each sample, in order."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        matches = [(match, path) for path in found if (match := _FILE.fullmatch(path.name))]
        return sorted((int(match[1]), int(match[2]), path) for match, path in matches)

    def _state(self, path: Path) -> dict[str, Tensor]:
        return storage.load_sample(path).state

    def _loaded(self, files: list[Path]) -> Iterator[nn.Module]:
        net = copy.deepcopy(self.net).eval()
        for path in files:
            state = self._state(path)
            if told := differences(state, net.state_dict()):
                raise StorageError(f"{path} is a sample of another network than {self._named}: {told}")
            net.load_state_dict(state)
            yield net

    def _predicted(self, predict: Predict, nets: Iterator[nn.Module]) -> Iterator[Tensor]:
        for net in nets:
            with torch.no_grad():
                found = predict(net)
            if not isinstance(found, Tensor) or not found.is_floating_point():
                kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
                raise TypeError(f"predict returned {kind}, but must return a tensor of floating-point numbers")
            yield found.detach()


def in_turn(chains: Sequence[Sequence[T]]) -> list[tuple[int, T]]:
    """(number of the chain, sample): the first sample of each chain, the second of each, ..."""
    longest = max(map(len, chains), default=0)
    return [(number, kept[i]) for i in range(longest) for number, kept in enumerate(chains) if i < len(kept)]


def differences(there: dict[str, Tensor], here: dict[str, Tensor]) -> str:
    """How the names and shapes of a sample differ from those of a network, in words; nothing if they do not."""
    parts = {
        "it lacks": [name for name in here if name not in there],
        "it alone has": [name for name in there if name not in here],
        "of other shapes are": [
            f"{name} ({tuple(there[name].shape)}, not {tuple(here[name].shape)})"
            for name in here
            if name in there and there[name].shape != here[name].shape
        ],
    }
    told = {what: ", ".join(names[:5]) + " ..." * (len(names) > 5) for what, names in parts.items() if names}
    return "; ".join(f"{what} {names}" for what, names in told.items())
