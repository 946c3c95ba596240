"""Attention weights as Quantizers see them."""

import pytest
import torch
from torch import nn

from lpsgld import formats, quantize
from lpsgld.bnn.studies import attending

FORMATS = ("full", "block(8,0)", "fixed(4,3)")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(7, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 7)

    def forward(self, text):
        return self.head(self.layers(self.token(text), nn.Transformer.generate_square_subsequent_mask(text.shape[1])))


@pytest.fixture(scope="module")
def told():
    torch.manual_seed(0)
    net, text = Net(), torch.randint(7, (3, 20))
    found = attending.look(net, text, text, FORMATS, rounding="nearest", text=1)
    assert not any(hasattr(part, "quantizers") for part in net.modules()), "the network stays as it is"
    with torch.no_grad():
        plain = net(text).log_softmax(-1).gather(-1, text[..., None])[..., 0]
    return found, plain


def test_unrounded_weights_are_those_of_the_plain_network(told):
    found, plain = told
    seen = found["full"]
    assert seen.given.shape == (2, 2, 20, 20) and torch.equal(seen.given, seen.rounded)
    assert torch.allclose(seen.logs, plain, atol=1e-5)
    assert torch.allclose(seen.sums, torch.ones(2, 2, 20, dtype=torch.float64), atol=1e-6)
    assert torch.equal(seen.lost, torch.zeros(2, 2, dtype=torch.float64))
    assert torch.equal(seen.given, seen.given.tril()), "nobody sees what follows"


def test_rounded_weights_lie_on_the_grid_of_their_text(told):
    found, plain = told
    first = found["block(8,0)"].given[0]
    assert torch.equal(first, found["full"].given[0]), "nothing is rounded before the first layer's weights"
    assert torch.equal(found["block(8,0)"].rounded[0], quantize(first, formats.parse("block(8,-1)"), "nearest"))
    coarse = found["fixed(4,3)"]
    assert not torch.equal(coarse.logs, found["full"].logs)
    counted = [[sum(0 < w < 1 / 16 for w in head.flatten().tolist()) / 210 for head in layer] for layer in coarse.given]
    assert torch.allclose(coarse.lost, torch.tensor(counted, dtype=torch.float64)) and coarse.lost.max() > 0.1
    assert torch.allclose(coarse.sums, coarse.rounded.double().sum(-1))
    more, error = coarse.dearer(found["full"])
    by_text = (plain - coarse.logs).mean(1)
    assert more == pytest.approx(by_text.mean().item(), abs=1e-5)
    assert error == pytest.approx(by_text.std().item() / 3**0.5, abs=1e-5)


def test_stochastic_rounding_repeats_with_its_seed():
    torch.manual_seed(0)
    net, text = Net(), torch.randint(7, (3, 20))
    one, again, other = (
        attending.look(net, text, text, ["fixed(4,3)"], rounding="stochastic", text=0, seed=seed)["fixed(4,3)"].rounded
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_network_without_attention_is_refused():
    net, text = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 7)), torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="MultiheadAttention matches no part"):
        attending.look(net, text, text, ["full"], rounding="nearest", text=0)
