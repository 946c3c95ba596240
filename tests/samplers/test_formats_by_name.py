"""Formats of parameters told by patterns of their names."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from lpsgld import SGHMC, SGLD, formats, quantize
from lpsgld.formats import FormatError

FORMATS = {"norm.*": None, "*.bias": "fixed(8,6)", "*": "block(8,0)"}


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(OrderedDict(hidden=nn.Linear(3, 5), norm=nn.LayerNorm(5), out=nn.Linear(5, 2)))
    for p in net.parameters():
        nn.init.normal_(p)
    return net


@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
def test_the_first_pattern_that_a_name_matches_counts(sampler):
    net = network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = sampler(net.named_parameters(), 0.1, num_data=10, weight=FORMATS, accumulator="naive")
    assert optimizer.weights(net) == {
        "hidden.weight": "block(8,0)",
        "hidden.bias": "fixed(8,6)",
        "norm.weight": "full",
        "norm.bias": "full",
        "out.weight": "block(8,0)",
        "out.bias": "fixed(8,6)",
    }
    net(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    for name, p in net.named_parameters():
        fmt = formats.parse(optimizer.weights(net)[name])
        assert not torch.equal(p, before[name])
        assert fmt is None or torch.equal(quantize(p, fmt, "nearest"), p)


def test_groups_of_ones_own_may_have_patterns_too():
    """And what matches no pattern is in full precision."""
    net = network()
    groups = [
        dict(params=list(net.hidden.named_parameters()), lr=0.2, weight={"weight": "block(8,0)"}),
        dict(params=list(net.out.named_parameters()), weight="fixed(8,3)", grad={"*": "fixed(8,8)"}),
    ]
    optimizer = SGLD(groups, 0.1, num_data=10)
    found = [(group["lr"], group["weight"], group["grad"], group["param_names"]) for group in optimizer.param_groups]
    assert found == [
        (0.2, "block(8,0)", "full", ["weight"]),
        (0.2, "full", "full", ["bias"]),
        (0.1, "fixed(8,3)", "fixed(8,8)", ["weight", "bias"]),
    ]


def test_it_goes_on_from_its_state():
    def started():
        net = network()
        return net, SGHMC(net.named_parameters(), 0.1, num_data=10, weight=FORMATS, accumulator="vc")

    def steps(net, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            net(torch.ones(4, 3)).square().mean().backward()
            optimizer.step()
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    net, optimizer = started()
    steps(net, optimizer, 2)
    kept, drawn = copy.deepcopy((net.state_dict(), optimizer.state_dict())), torch.get_rng_state()
    expected = steps(net, optimizer, 3)
    net, optimizer = started()
    net.load_state_dict(kept[0])
    optimizer.load_state_dict(kept[1])
    torch.set_rng_state(drawn)
    assert torch.equal(steps(net, optimizer, 3), expected)


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"nrom.*": None, "*": "block(8,0)"}, FormatError, r"no parameter 'nrom.\*': choose from hidden.weight"),
        ({"*": "block(8)"}, FormatError, "block"),
        ({"*": "block(8,0)", "out.*": "block(8)"}, FormatError, "block"),  # which no name would come to
        ({"out.*": "block(8,1)", "*": "block(8,0)"}, FormatError, "out.bias"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(given, error, told):
    net = network()
    before = {name: x.clone() for name, x in net.state_dict().items()}
    with pytest.raises(error, match=told):
        SGLD(net.named_parameters(), 0.1, num_data=10, weight=given, accumulator="vc")
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())


def test_without_names_there_are_no_patterns():
    with pytest.raises(ValueError, match=r"pass model.named_parameters\(\)"):
        SGLD(network().parameters(), 0.1, num_data=10, weight=FORMATS)


def test_names_are_no_patterns_where_all_are_names():
    """A bracket in a name would be a set of letters."""
    given = {"layers[0].weight": "block(8,0)", "layers[1].weight": "fixed(8,3)"}
    found = formats.of_each(given, [*given, "bias"])
    assert {name: formats.name(fmt) for name, fmt in found.items()} == given | {"bias": "full"}
