"""A character-level transformer in plain PyTorch, sampled in 8 bits; by default it reads the course's own prose.

python examples/characters.py --text FILE --out samples-characters
"""

import argparse
import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from lpsgld import SGLD, Posterior, metrics, quantize_network

CONTEXT, WIDTH = 64, 64
PAST_ONLY = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--text", type=Path, help="a file of UTF-8; without it, the Markdown of the notebooks")
parser.add_argument("--steps", type=int, default=600, help="30 or more: samples are kept during the last third")
parser.add_argument("--out", type=Path, default=Path("samples-characters"), help="a new folder for the samples")
options = parser.parse_args()


class Transformer(nn.Module):
    def __init__(self, characters: int):
        super().__init__()
        self.token, self.place = nn.Embedding(characters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, characters)

    def forward(self, text: Tensor) -> Tensor:  # [N, CONTEXT], to logits of the next character [N, CONTEXT, V]
        return self.head(self.layers(self.token(text) + self.place(torch.arange(CONTEXT)), PAST_ONLY))


torch.manual_seed(0)
notebooks = sorted(Path(__file__).resolve().parents[1].glob("notebooks/*.ipynb"))
cells = [cell for path in notebooks for cell in json.loads(path.read_bytes())["cells"]]
prose = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
text = options.text.read_text(encoding="utf-8") if options.text else prose
number = {character: i for i, character in enumerate(sorted(set(text)))}
windows = torch.tensor([number[character] for character in text]).unfold(0, CONTEXT + 1, CONTEXT)
test, train = windows[:100], windows[100:]
net = Transformer(len(number))
quantize_network(net, activation="block(8,-1)", error="block(8,-1)")
weight = {"*norm*": None, "*bias": None, "*": "block(8,0)"}  # by the names of parameters; the first match counts
optimizer = SGLD(net.named_parameters(), 1.0, num_data=train.numel(), prior_std=1, weight=weight, accumulator="vc")
posterior = Posterior(options.out, net, optimizer)
for step in range(1, options.steps + 1):
    batch = train[torch.randint(len(train), (16,))]
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(batch[:, :-1]).transpose(1, 2), batch[:, 1:]).backward()
    optimizer.step()
    if step > options.steps * 2 // 3 and step % (options.steps // 30) == 0:
        posterior.keep(step=step)
members = posterior.draws(lambda net: net(test[:, :-1]).softmax(-1))[0]  # [samples, N, CONTEXT, V]
for name, found in (("last sample", members[-1]), (f"average of {len(members)}", members.mean(0))):
    nll, ece = metrics.nll(found, test[:, 1:]), metrics.ece(found, test[:, 1:])
    print(f"{name:13} perplexity {math.exp(nll):.2f}, ECE {ece:.1%}")
