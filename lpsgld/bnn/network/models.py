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

from typing import Literal, get_args

from torch import Tensor, nn

from lpsgld.bnn.network.quantizing import quantize_network
from lpsgld.formats import AnyFormat
from lpsgld.rounding import Quantizer, Rounding
from lpsgld.text import one_of

_STAGES = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
MODELS = ("logistic", "mlp", *_STAGES)

Where = Literal["paper", "residual", "all"]
SITES: tuple[Where, ...] = get_args(Where)
_ADDED = {  # the parts after which each of SITES rounds, beside those of the one before
    "logistic": (("linear",), (), ("image",)),
    "mlp": (("hidden", "relu", "linear"), (), ("image",)),
    "resnet": (
        ("conv1", "relu", "blocks.*.conv1", "blocks.*.relu1", "blocks.*.conv2"),
        ("blocks.*.relu2",),
        ("image", "blocks.*.shortcut.0", "features"),
    ),
}


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
    one_of("set of sites", sites, SITES)
    channels, height, breadth = image_shape
    if name == "logistic":
        net = Logistic(channels * height * breadth, classes)
    elif name == "mlp":
        net = MLP(channels * height * breadth, width, classes)
    else:
        net = ResNet(_STAGES[name], channels, width, classes)
    added = _ADDED["resnet" if name in _STAGES else name][: SITES.index(sites) + 1]
    quantize_network(net, activation, error, after=sum(added, ()), rounding=rounding)
    return net


def set_activation_rounding(model: nn.Module, rounding: Rounding) -> None:
    """Round at every site of the model in this way from now on, for example "nearest" at test time."""
    for module in model.modules():
        if isinstance(module, Quantizer):
            module.rounding, module.evaluation = rounding, None


class Logistic(nn.Module):
    """Multinomial logistic regression. The paper rounds its logits."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.image = nn.Flatten()
        self.linear = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.image(x))


class MLP(nn.Module):
    """One hidden layer of ReLU units."""

    def __init__(self, features: int, hidden: int, classes: int):
        super().__init__()
        self.image = nn.Flatten()
        self.hidden = nn.Linear(features, hidden)
        self.relu = nn.ReLU()
        self.linear = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.relu(self.hidden(self.image(x))))


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
    """Two 3x3 convolutions and a shortcut (He et al. 2016). Only what lies between them is the paper's to round."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(Projection(channels, width, stride), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A ResNet for small images: a 3x3 stem without pooling, four stages, global average pooling, a linear layer.

    The stages halve the image three times, to 1x1 at least. With (2, 2, 2, 2) blocks, 3 channels, width 64 and 10
    classes it has 11,173,962 parameters, the paper's ResNet-18. `image` and `features` only mark places.
    """

    def __init__(self, blocks: tuple[int, ...], channels: int, width: int, classes: int):
        super().__init__()
        self.image = nn.Identity()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        stages, inside = [], width
        for stage, count in enumerate(blocks):
            outside = width * 2**stage
            for index in range(count):
                stages.append(Block(inside, outside, 2 if stage > 0 and index == 0 else 1))
                inside = outside
        self.blocks = nn.Sequential(*stages)
        self.features = nn.Identity()
        self.linear = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.blocks(self.relu(self.bn1(self.conv1(self.image(x)))))
        return self.linear(self.features(out.mean((2, 3))))
