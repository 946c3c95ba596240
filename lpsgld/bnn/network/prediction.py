"""What a network says about images: probabilities, batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpsgld.bnn.data.arrays import Dataset

_BATCH = 500


def predict(model: nn.Module, dataset: Dataset, images: Tensor) -> Tensor:
    """softmax of the model's logits for uint8 images, [N, C] on the CPU; normalised as the dataset's images are."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        batches = [model(dataset.normalize(batch.to(device))).softmax(1) for batch in images.split(_BATCH)]
    model.train(was_training)
    return torch.cat(batches).cpu()
