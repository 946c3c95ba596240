"""What a network says about inputs: probabilities, batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpsgld.bnn.data.arrays import Data

_BATCH = 500


def predict(model: nn.Module, dataset: Data, inputs: Tensor) -> Tensor:
    """softmax of the model's logits for inputs of the data set's kind, [N, C] or [N, L, C], on the CPU."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        batches = [model(dataset.prepared(batch.to(device))).softmax(-1) for batch in inputs.split(_BATCH)]
    model.train(was_training)
    return torch.cat(batches).cpu()
