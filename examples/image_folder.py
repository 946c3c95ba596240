"""A torchvision network on a folder of images, PATH/train/<class>/* and PATH/test/<class>/*, sampled in 8 bits.

python examples/image_folder.py PATH --out samples-images
"""

import argparse
from itertools import count
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.transforms import v2

from lpsgld import SGLD, Posterior, metrics, quantize_network

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("images", type=Path, metavar="PATH", help="the folder that holds train and test")
parser.add_argument("--size", type=int, default=32, help="pixels, to which the sides of each image are brought")
parser.add_argument("--steps", type=int, default=100, help="20 or more: the second half gives ten samples")
parser.add_argument("--out", type=Path, default=Path("samples-images"), help="a new folder for the samples")
options = parser.parse_args()

torch.manual_seed(0)
resize = v2.Resize((options.size, options.size))
seen = v2.Compose([v2.ToImage(), resize, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])
train, test = (ImageFolder(options.images / part, seen) for part in ("train", "test"))
loader = DataLoader(train, batch_size=min(32, len(train)), shuffle=True, drop_last=True)
batches = (batch for _ in count() for batch in loader)

net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=len(train.classes))  # a small one; resnet18 has the same names
quantize_network(net, activation="block(8,0)", error="block(8,0)", after=(nn.Conv2d, nn.Linear))
optimizer = SGLD(
    net.named_parameters(),
    lr=0.1,
    num_data=len(train),
    temperature=0.01,  # colder than the posterior
    prior_std=1.0,
    # by the names of parameters, the first match counts: batch norms and biases stay in full precision
    weight={"*bn*": None, "*downsample.1*": None, "*bias": None, "*": "block(8,0)"},
    accumulator="vc",
)
posterior = Posterior(options.out, net, optimizer)
for step, (images, labels) in zip(range(1, options.steps + 1), batches, strict=False):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(images), labels).backward()
    optimizer.step()
    if step > options.steps // 2 and step % (options.steps // 20) == 0:
        posterior.keep(step=step)

images, labels = torch.stack([image for image, _ in test]), torch.tensor(test.targets)
members = posterior.draws(lambda net: torch.cat([net(batch).softmax(1) for batch in images.split(256)]))[0]
for name, found in (("last sample", members[-1]), (f"average of {len(members)}", members.mean(0))):
    scores = metrics.summary(found, labels)
    print(f"{name:13} error {scores['error']:.1%}, NLL {scores['nll']:.3f}, ECE {scores['ece']:.1%}")
