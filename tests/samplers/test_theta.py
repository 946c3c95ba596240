"""θ beside the parameter: kept in float32, led by whoever writes into the weights, copied and stored with them."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lpsgld import SGHMC, SGLD, formats, quantize
from lpsgld.formats import FormatError
from lpsgld.samplers.sgld import step
from tests.checks import assert_mean

NARROW = [torch.bfloat16, torch.float16]
SAMPLERS = pytest.mark.parametrize("sampler", [SGLD, SGHMC])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moved(p, optimizer, gradient, steps=1):
    for _ in range(steps):
        p.grad = torch.full_like(p, gradient)
        optimizer.step()
    return p.detach()


# ---- narrow parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*NARROW, torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [None, "fixed(8,3)"])
def test_steps_smaller_than_the_gap_of_the_parameter_add_up(dtype, weight):
    """1000 steps of 1/1000: bfloat16 alone has a gap of 1/128 below 1 and would stay there."""
    p = nn.Parameter(torch.ones(50, dtype=dtype))
    optimizer = SGLD([p], 1e-3, num_data=1, temperature=0.0, weight=weight, generator=generator())
    out = moved(p, optimizer, 1.0, steps=1000)
    assert out.dtype == dtype and out.abs().max() < 1e-4
    if dtype in NARROW:
        assert optimizer.state[p]["theta"].dtype == torch.float32


@SAMPLERS
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
def test_a_narrow_chain_is_that_of_float32_bit_for_bit(dtype, accumulator, sampler):
    chains = []
    for kind in (dtype, torch.float32):
        p, draws = nn.Parameter(torch.linspace(-2, 2, 300).to(dtype).to(kind)), generator(1)
        optimizer = sampler([p], 0.3, num_data=10, weight="fixed(8,3)", accumulator=accumulator, generator=draws)
        for _ in range(20):
            p.grad = p.detach().clone()
            optimizer.step()
        chains.append(p.detach().float())
    assert torch.equal(*chains)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_gaussian_in_narrow_numbers_has_its_standard_deviation(dtype):
    """N(0, 1) by 1500 chains, step 0.002: 2/(2 - α) is the variance of the law; the draws of a chain count once."""
    p = nn.Parameter(torch.zeros(1500, dtype=dtype))
    optimizer = SGLD([p], 0.002, num_data=1, generator=generator(2))
    for _ in range(2000):
        p.grad = p.detach().clone()
        optimizer.step()
    assert_mean(p.detach().double() ** 2, 1.001, 2**0.5)


def test_a_step_as_a_function_does_not_lose_what_is_smaller_than_the_gap():
    theta = torch.ones(20, dtype=torch.bfloat16)
    for _ in range(1000):
        theta = step(theta, torch.ones(20, dtype=torch.bfloat16), 1e-3, None, "full", temperature=0.0)
    assert theta.dtype == torch.float32 and theta.abs().max() < 1e-4


@pytest.mark.parametrize(
    ("dtype", "weight", "says"),
    [
        (torch.bfloat16, "fixed(16,8)", "bfloat16, which holds 8 significant bits, but .* has 15"),
        (torch.float16, "block(16,0)", "float16, which holds 11"),
        (torch.bfloat16, "fixed(8,3,unclamped)", "has 24"),
    ],
)
def test_a_format_that_the_parameter_cannot_hold_is_refused(dtype, weight, says):
    p = nn.Parameter(torch.ones(3, 2, dtype=dtype))
    with pytest.raises(FormatError, match=f"layer is kept in torch.*{says}"):
        SGLD([("layer", p)], 0.1, num_data=1, weight=weight)
    assert torch.equal(p, torch.ones(3, 2, dtype=dtype))


# ---- weights that others write ---------------------------------------------------------------------------------------


def load(net, value):
    net.load_state_dict({"weight": torch.full((1, 30), value)})


def fill(net, value):
    nn.init.constant_(net.weight, value)


def through_data(net, value):
    net.weight.data.copy_(torch.full((1, 30), value))


def another_tensor(net, value):
    net.weight.data = torch.full((1, 30), value)


def as_a_vector(net, value):
    nn.utils.vector_to_parameters(torch.full((30,), value), net.parameters())


@pytest.mark.parametrize("write", [load, fill, through_data, another_tensor, as_a_vector])
@pytest.mark.parametrize("steps_before", [0, 3])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("kind", ["each", pytest.param("stacks", marks=pytest.mark.slow)])
def test_weights_loaded_later_are_where_the_chain_goes_on(write, steps_before, stored, kind, monkeypatch):
    net = nn.Linear(30, 1, bias=False)
    nn.init.constant_(net.weight, -0.25)
    optimizer = SGLD(net.parameters(), 0.1, num_data=1, temperature=0.0, weight="fixed(8,3)")
    if kind == "stacks":
        monkeypatch.setattr(optimizer, "_step_each", lambda p, lr, s: optimizer._step_stacked(p, lr, s, 0))
    moved(net.weight, optimizer, 0.0, steps_before)
    write(net, 0.5)
    if stored:
        optimizer.load_state_dict(optimizer.state_dict())
    assert (moved(net.weight, optimizer, 0.0) == 0.5).all()
    assert (moved(net.weight, optimizer, 1.0) < 0.5).any()


@pytest.mark.parametrize("change", [torch.Tensor.bfloat16, torch.Tensor.double, lambda p: p.reshape(2, 15).clone()])
def test_weights_that_were_converted_or_replaced_take_their_theta_with_them(change):
    net = nn.Linear(30, 1, bias=False)
    optimizer = SGLD(net.parameters(), 0.5, num_data=1, temperature=0.0, weight="fixed(8,3)")
    moved(net.weight, optimizer, 0.0)
    before = change(net.weight.detach())
    net.weight.data = before.clone()
    assert torch.equal(moved(net.weight, optimizer, 1.0), before - 0.5)


@SAMPLERS
@pytest.mark.parametrize("weights_first", [True, False])
def test_who_loads_weights_and_state_resumes_the_chain_in_either_order(weights_first, sampler):
    def begin():
        net = nn.Linear(20, 5, bias=False)
        nn.init.constant_(net.weight, 0.3)
        return net, sampler(net.parameters(), 0.01, num_data=9, weight="fixed(8,3)", generator=generator(4))

    net, optimizer = begin()
    moved(net.weight, optimizer, 1.0, steps=3)
    saved = copy.deepcopy((net.state_dict(), optimizer.state_dict(), optimizer.generator))
    other, resumed = begin()
    for part in (other, resumed) if weights_first else (resumed, other):
        part.load_state_dict(saved[0] if part is other else saved[1])
    resumed.generator = saved[2]
    straight, again = moved(net.weight, optimizer, 1.0, 3), moved(other.weight, resumed, 1.0, 3)
    assert torch.equal(straight, again)
    assert torch.equal(optimizer.state[net.weight]["theta"], resumed.state[other.weight]["theta"])


def test_a_parameter_that_asks_for_no_gradient_is_left_alone_until_it_does():
    net = nn.Linear(4, 3)
    net.bias.requires_grad_(False)
    before = net.bias.detach().clone()
    optimizer = SGLD(net.named_parameters(), 0.1, num_data=10, temperature=0.0, weight="fixed(8,3)")
    net(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    assert torch.equal(net.bias, before) and net.bias not in optimizer.state
    net.bias.requires_grad_(True)
    net.bias.grad = torch.zeros(3)
    optimizer.step()
    assert torch.equal(optimizer.state[net.bias]["theta"], before)
    assert torch.equal(quantize(net.bias.detach(), "fixed(8,3)", "nearest"), net.bias)


def test_an_accumulator_that_changes_on_the_way_takes_the_weights_as_they_are():
    p = nn.Parameter(torch.zeros(10))
    optimizer = SGLD([p], 1.0, num_data=1, temperature=0.0, weight="fixed(8,3)")
    optimizer.param_groups[0]["accumulator"] = "naive"
    assert (moved(p, optimizer, -1.0) == 1.0).all() and not optimizer.state.get(p)
    optimizer.param_groups[0]["accumulator"] = "full"
    assert (moved(p, optimizer, -1.0) == 2.0).all() and (optimizer.state[p]["theta"] == 2.0).all()


# ---- copies and states -----------------------------------------------------------------------------------------------


def trained(dtype=torch.float32, sampler=SGLD):
    torch.manual_seed(0)
    net = nn.Linear(20, 10).to(dtype)
    optimizer = sampler(net.named_parameters(), 0.05, num_data=50, weight="fixed(8,3)", generator=generator(3))
    return net, advanced(net, optimizer)


def advanced(net, optimizer, steps=3):
    for i in range(steps):
        for p in net.parameters():
            p.grad = torch.randn(p.shape, generator=generator(i)).to(p.dtype)
        optimizer.step()
    return optimizer


@SAMPLERS
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_a_copy_goes_on_as_the_original_and_apart_from_it(copied, sampler):
    net, optimizer = trained(sampler=sampler)
    twin, other = copied((net, optimizer))
    left = other.state_dict()["state"][0]["theta"].clone()
    advanced(net, optimizer)
    assert torch.equal(other.state_dict()["state"][0]["theta"], left)
    advanced(twin, other)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), twin.parameters(), strict=True))
    other.add_param_group({"params": [("new", nn.Parameter(torch.ones(2)))]})


@SAMPLERS
@pytest.mark.parametrize("dtype", NARROW)
def test_a_state_keeps_theta_and_memory_in_float32(dtype, sampler):
    net, optimizer = trained(dtype, sampler)
    other_net, other = trained(dtype, sampler)
    saved = optimizer.state_dict()
    other.load_state_dict(saved)
    for name in ("theta", *sampler.memory):
        kept = other.state[other_net.weight][name]
        assert kept.dtype == torch.float32 and torch.equal(kept, saved["state"][0][name])
        assert kept.data_ptr() != saved["state"][0][name].data_ptr()


def test_the_state_of_another_optimizer_is_refused():
    net, optimizer = trained()
    with pytest.raises(ValueError, match="no state of SGLD: a group lacks steps, temperature, num_data"):
        optimizer.load_state_dict(torch.optim.SGD(net.parameters(), 0.1).state_dict())
    with pytest.raises(ValueError, match="no state of SGHMC: a group lacks momentum"):
        trained(sampler=SGHMC)[1].load_state_dict(optimizer.state_dict())
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["temperature"] = -1.0
    with pytest.raises(ValueError, match="temperature is -1.0"):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["temperature"] == 1.0


def test_a_format_without_room_in_one_parameter_changes_none():
    net = nn.Linear(4, 3)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(FormatError, match="bias: block axis 1"):
        SGLD(net.named_parameters(), 0.1, num_data=10, weight=formats.parse("block(8,1)"))
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
