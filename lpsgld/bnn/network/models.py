"""Networks: logistic regression, an MLP and ResNets for small images, with a `Quantizer` at every site of the paper.

A site is a place where activations are rounded on the way forward and errors on the way back. The weights are no
business of a network: the optimizer keeps them on their grid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from lpsgld.formats import AnyFormat
from lpsgld.rounding import Quantizer, Rounding
from lpsgld.text import one_of

_STAGES = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
MODELS = ("logistic", "mlp", *_STAGES)


class Sites(NamedTuple):
    """What happens at every quantizer site of a network. `inputs`: also round what the paper leaves in full
    precision on its way into a convolution or a linear layer (the image, the pooled features), and the
    convolution on a shortcut."""

    activation: AnyFormat = None
    error: AnyFormat = None
    rounding: Rounding = "stochastic"
    inputs: bool = False

    def quantizer(self) -> Quantizer:
        return Quantizer(self.activation, self.error, self.rounding)

    def input_quantizer(self) -> nn.Module:
        return self.quantizer() if self.inputs else nn.Identity()


def build(
    name: str,
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    width: int = 64,
    activation: AnyFormat = None,
    error: AnyFormat = None,
    rounding: Rounding = "stochastic",
    inputs: bool = False,
) -> nn.Module:
    """The network of that name for images of shape (C, H, W); it returns logits [N, classes].

    "logistic" has no hidden layer and ignores `width`; "mlp" has one, of `width` units (the paper: 100); a ResNet
    has stages of width, 2·width, 4·width, 8·width channels. Initial weights come from torch's default generator.
    activation, error, rounding, inputs: see `Sites`. Raises ValueError for an unknown name.
    """
    one_of("model", name, MODELS)
    sites = Sites(activation, error, rounding, inputs)
    channels, height, breadth = image_shape
    if name == "logistic":
        return Logistic(channels * height * breadth, classes, sites)
    if name == "mlp":
        return MLP(channels * height * breadth, width, classes, sites)
    return ResNet(_STAGES[name], channels, width, classes, sites)


def set_activation_rounding(model: nn.Module, rounding: Rounding) -> None:
    """Round at every site of the model in this way from now on, for example "nearest" at test time."""
    for module in model.modules():
        if isinstance(module, Quantizer):
            module.rounding = rounding


class Logistic(nn.Module):
    """Multinomial logistic regression. Its one site is the logits."""

    def __init__(self, features: int, classes: int, sites: Sites):
        super().__init__()
        self.quant_in = sites.input_quantizer()
        self.linear = nn.Linear(features, classes)
        self.quant = sites.quantizer()

    def forward(self, x: Tensor) -> Tensor:
        return self.quant(self.linear(self.quant_in(x.flatten(1))))


class MLP(nn.Module):
    """One hidden layer of ReLU units. Sites: after each linear layer and after the ReLU."""

    def __init__(self, features: int, hidden: int, classes: int, sites: Sites):
        super().__init__()
        self.quant_in = sites.input_quantizer()
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
    """Two 3x3 convolutions and a shortcut (He et al. 2016), rounded after each convolution and each ReLU.

    The shortcut is left alone, as in the paper, unless `sites.inputs` asks for all.
    """

    def __init__(self, channels: int, width: int, stride: int, sites: Sites):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.quant1, self.quant2 = sites.quantizer(), sites.quantizer()
        self.quant3, self.quant4 = sites.quantizer(), sites.quantizer()
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            projection = Projection(channels, width, stride)
            self.shortcut = nn.Sequential(projection, sites.input_quantizer(), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.quant1(self.conv1(x))
        out = self.quant2(F.relu(self.bn1(out)))
        out = self.bn2(self.quant3(self.conv2(out)))
        return self.quant4(F.relu(out + self.shortcut(x)))


class ResNet(nn.Module):
    """A ResNet for small images: a 3x3 stem without pooling, four stages, global average pooling, a linear layer.

    The stages halve the image three times, to 1x1 at least. With (2, 2, 2, 2) blocks, 3 channels, width 64 and 10
    classes it has 11,173,962 parameters, the paper's ResNet-18.
    """

    def __init__(self, blocks: tuple[int, ...], channels: int, width: int, classes: int, sites: Sites):
        super().__init__()
        self.quant_in = sites.input_quantizer()
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
        self.quant_pool = sites.input_quantizer()
        self.linear = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.quant1(self.conv1(self.quant_in(x)))
        out = self.blocks(self.quant2(F.relu(self.bn1(out))))
        return self.linear(self.quant_pool(out.mean((2, 3))))
