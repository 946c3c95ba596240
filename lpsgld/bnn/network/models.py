"""Networks: logistic regression, an MLP and ResNets for small images, with a `Quantizer` at every site of the paper.

A site is a place where activations are rounded on the way forward and errors on the way back. The weights are no
business of a network: the optimizer keeps them on their grid.

How many sites there are is chosen by name, each name those before it and more (in brackets: in a ResNet-18):

    "paper"      after each convolution on the main path, after the stem's ReLU and after the first ReLU of each block;
                 after each layer of an MLP. The residual stream, which a block's last ReLU writes and the shortcuts
                 carry on, stays in full precision, as in the released code (26)
    "residual"   also after a block's last ReLU: the residual stream has few bits, too (34)
    "all"        also the image, the convolutions on shortcuts, and the pooled features (39)
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from lpsgld.formats import AnyFormat
from lpsgld.rounding import Quantizer, Rounding
from lpsgld.text import one_of

_STAGES = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
MODELS = ("logistic", "mlp", *_STAGES)

Where = Literal["paper", "residual", "all"]
SITES: tuple[Where, ...] = get_args(Where)


class Sites(NamedTuple):
    """Where a network rounds, and what happens there."""

    where: Where = "paper"
    activation: AnyFormat = None
    error: AnyFormat = None
    rounding: Rounding = "stochastic"

    def quantizer(self, of: Where = "paper") -> nn.Module:
        """For a site that is there from that name on."""
        there = SITES.index(self.where) >= SITES.index(of)
        return Quantizer(self.activation, self.error, self.rounding) if there else nn.Identity()


def build(
    name: str,
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: int = 64,
    activation: AnyFormat = None,
    error: AnyFormat = None,
    rounding: Rounding = "stochastic",
    sites: Where = "paper",
) -> nn.Module:
    """The network of that name for images of shape (C, H, W); it returns logits [N, classes].

    "logistic" has no hidden layer and ignores `width`; "mlp" has one, of `width` units (the paper: 100); a ResNet
    has stages of width, 2·width, 4·width, 8·width channels. Initial weights come from torch's default generator.
    activation, error, rounding: what the `Quantizer` of each site does. sites: where they are, see above. Raises
    ValueError for an unknown name.
    """
    one_of("model", name, MODELS)
    chosen = Sites(one_of("set of sites", sites, SITES), activation, error, rounding)
    channels, height, breadth = image_shape
    if name == "logistic":
        return Logistic(channels * height * breadth, classes, chosen)
    if name == "mlp":
        return MLP(channels * height * breadth, width, classes, chosen)
    return ResNet(_STAGES[name], channels, width, classes, chosen)


def set_activation_rounding(model: nn.Module, rounding: Rounding) -> None:
    """Round at every site of the model in this way from now on, for example "nearest" at test time."""
    for module in model.modules():
        if isinstance(module, Quantizer):
            module.rounding = rounding


class Logistic(nn.Module):
    """Multinomial logistic regression. Its one site is the logits."""

    def __init__(self, features: int, classes: int, sites: Sites):
        super().__init__()
        self.quant_in = sites.quantizer("all")
        self.linear = nn.Linear(features, classes)
        self.quant = sites.quantizer()

    def forward(self, x: Tensor) -> Tensor:
        return self.quant(self.linear(self.quant_in(x.flatten(1))))


class MLP(nn.Module):
    """One hidden layer of ReLU units. Sites: after each linear layer and after the ReLU."""

    def __init__(self, features: int, hidden: int, classes: int, sites: Sites):
        super().__init__()
        self.quant_in = sites.quantizer("all")
        self.hidden = nn.Linear(features, hidden)
        self.quant1 = sites.quantizer()
        self.quant2 = sites.quantizer()
        self.linear = nn.Linear(hidden, classes)
        self.quant3 = sites.quantizer()

    def forward(self, x: Tensor) -> Tensor:
        h = self.quant1(self.hidden(self.quant_in(x.flatten(1))))
        return self.quant3(self.linear(self.quant2(F.relu(h))))


class Projection(nn.Conv2d):
    """A 1x1 convolution with a stride, as one without a stride of every stride-th pixel in each direction.

    The same numbers: a 1x1 convolution looks at no other pixels. But torch 2.15's own, channels last on the CPU,
    writes beyond its memory in the backward pass of a batch that its threads cannot share evenly.
    """

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__(channels, width, 1, bias=False)
        self.step = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, :: self.step, :: self.step])


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016), rounded after each convolution and the ReLU between them.

    The block's result and the shortcut are left alone, as in the released code, unless more sites are asked for.
    """

    def __init__(self, channels: int, width: int, stride: int, sites: Sites):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.quant1, self.quant2, self.quant3 = sites.quantizer(), sites.quantizer(), sites.quantizer()
        self.quant_out = sites.quantizer("residual")
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            projection = Projection(channels, width, stride)
            self.shortcut = nn.Sequential(projection, sites.quantizer("all"), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.quant1(self.conv1(x))
        out = self.quant2(F.relu(self.bn1(out)))
        out = self.bn2(self.quant3(self.conv2(out)))
        return self.quant_out(F.relu(out + self.shortcut(x)))


class ResNet(nn.Module):
    """A ResNet for small images: a 3x3 stem without pooling, four stages, global average pooling, a linear layer.

    The stages halve the image three times, to 1x1 at least. With (2, 2, 2, 2) blocks, 3 channels, width 64 and 10
    classes it has 11,173,962 parameters, the paper's ResNet-18.
    """

    def __init__(self, blocks: tuple[int, ...], channels: int, width: int, classes: int, sites: Sites):
        super().__init__()
        self.quant_in = sites.quantizer("all")
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.quant1, self.quant2 = sites.quantizer(), sites.quantizer()
        stages, inside = [], width
        for stage, count in enumerate(blocks):
            outside = width * 2**stage
            for index in range(count):
                stages.append(Block(inside, outside, 2 if stage > 0 and index == 0 else 1, sites))
                inside = outside
        self.blocks = nn.Sequential(*stages)
        self.quant_pool = sites.quantizer("all")
        self.linear = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.quant1(self.conv1(self.quant_in(x)))
        out = self.blocks(self.quant2(F.relu(self.bn1(out))))
        return self.linear(self.quant_pool(out.mean((2, 3))))
