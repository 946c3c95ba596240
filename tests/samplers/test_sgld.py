"""The optimizer: its update against the formula, its accumulators, what it refuses."""

import math

import pytest
import torch
from qtorch import BlockFloatingPoint, FixedPoint

from lpsgld import SGHMC, SGLD, NonFiniteGradient, formats, quantize
from lpsgld.bnn.training.schedules import constant, cyclical, decay
from lpsgld.rounding import normal_like
from lpsgld.samplers.accumulators import accumulate
from tests.checks import assert_mean

W = FixedPoint(8, 6)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parameter(*shape, seed=0):
    return torch.nn.Parameter(torch.randn(*shape, generator=generator(seed)))


def test_one_step_follows_the_formula_of_the_docstring():
    p, g = parameter(1000), torch.randn(1000, generator=generator(1))
    before = p.detach().clone()
    optimizer = SGLD([p], 0.1, num_data=50, temperature=0.3, weight_decay=0.01, generator=generator(2))
    p.grad = g.clone()
    optimizer.step()
    noise = normal_like(torch.empty(1000), generator(2))
    expected = before - 0.1 * (g + 0.01 * before) + math.sqrt(2 * 0.1 * 0.3 / 50) * noise
    assert torch.allclose(p, expected, atol=1e-6) and torch.equal(p.grad, g)


def test_temperature_zero_in_full_precision_is_torch_sgd():
    p, q = parameter(100), parameter(100)
    ours = SGLD([p], 0.1, num_data=10, temperature=0.0, weight_decay=0.01)
    theirs = torch.optim.SGD([q], 0.1, weight_decay=0.01)
    for i in range(5):
        p.grad = q.grad = torch.randn(100, generator=generator(i))
        ours.step()
        theirs.step()
    assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.parametrize(
    ("accumulator", "temperature", "moves"), [("vc-released", 1.0, False), ("naive", 0.0, False), ("vc", 1.0, True)]
)
def test_below_v0_the_released_accumulator_is_that_of_sgd(accumulator, temperature, moves):
    """Where nothing pulls, only noise can move a weight on its grid: in blocks the released step has none, at any T."""
    p = parameter(20, 30)
    settings = dict(num_data=1000, weight="block(8,0)", accumulator=accumulator, generator=generator(2))
    optimizer = SGLD([p], 0.01, temperature=temperature, **settings)
    before, p.grad = p.detach().clone(), torch.zeros(20, 30)
    for _ in range(20):
        optimizer.step()
    assert torch.equal(p, before) != moves
    p.grad = torch.randn(20, 30, generator=generator(3))
    optimizer.step()
    assert not torch.equal(p, before)


@pytest.mark.parametrize(
    ("accumulator", "weight"),
    [(a, w) for a in ("full", "naive", "vc") for w in (W, BlockFloatingPoint(8, 0))]
    + [("vc-released", BlockFloatingPoint(8, 0))],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_network_always_sees_weights_on_their_grid(accumulator, temperature, weight):
    p = parameter(20, 30)
    optimizer = SGLD([p], 0.01, num_data=100, temperature=temperature, weight=weight, grad=W, accumulator=accumulator)
    for i in range(4):
        assert torch.equal(quantize(p.detach(), weight, "nearest"), p)
        p.grad = torch.randn(20, 30, generator=generator(i))
        optimizer.step()
    assert torch.equal(quantize(p.detach(), weight, "nearest"), p)


def test_the_full_precision_accumulator_keeps_steps_smaller_than_the_gap():
    """100 steps of a hundredth of a gap: the accumulator moves by one gap, exactly; the network sees the grid."""
    p = torch.nn.Parameter(torch.zeros(1000))
    optimizer = SGLD([p], 1.0, num_data=1, temperature=0.0, weight=W)
    for _ in range(100):
        p.grad = torch.full_like(p, -W_GAP / 100)
        optimizer.step()
    assert torch.allclose(optimizer.state[p]["theta"], torch.full((1000,), W_GAP))
    assert torch.equal(quantize(p.detach(), W, "nearest"), p)


W_GAP = 2.0**-6


def test_gradients_are_rounded_and_weight_decay_is_not():
    p = torch.nn.Parameter(torch.ones(200_000))
    optimizer = SGLD(
        [p], 1.0, num_data=1, temperature=0.0, weight_decay=2.0**-20, grad=FixedPoint(8, 3), generator=generator()
    )
    p.grad = torch.full_like(p, 0.03)  # rounded to 0 or 1/8
    optimizer.step()
    moved = 1 - 2.0**-20 - p.detach()
    assert set(moved.unique().tolist()) == {0.0, 0.125}
    assert_mean(moved, 0.03, math.sqrt(0.24 * 0.76) / 8)


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_one_step_has_the_promised_mean_and_variance(accumulator):
    """From a grid point: mean θ - lr·g; VC has variance 2·lr·T/N, naive about Δ√(2α)√(2/π) more."""
    n, alpha = 1_000_000, 2.0e-5
    p = torch.nn.Parameter(torch.zeros(n))
    optimizer = SGLD([p], alpha * 50, num_data=50, weight=W, accumulator=accumulator, generator=generator(4))
    p.grad = torch.full((n,), 2.0)
    optimizer.step()
    mean, std = -alpha * 50 * 2.0, math.sqrt(2 * alpha)
    sample = p.detach().double()
    assert_mean(sample, mean, float(sample.std()))
    centre = torch.linspace(-8, 8, 200_001).double()
    weight = torch.exp(-(centre**2) / 2)
    delta = (mean + std * centre).abs()
    f = delta / W_GAP % 1
    naive = float((weight * (f * (1 - f) * W_GAP**2 + (mean + std * centre) ** 2)).sum() / weight.sum()) - mean**2
    f_vc = abs(mean) / W_GAP % 1
    expected = {"naive": naive, "vc": max(2 * alpha, f_vc * (1 - f_vc) * W_GAP**2)}[accumulator]
    square = (sample - mean) ** 2
    assert_mean(square, expected, float(square.std()))
    assert accumulator == "vc" or naive > 2 * 2 * alpha


def test_the_same_generator_gives_the_same_weights_also_through_a_state_dict():
    def run(interrupt):
        p, g = parameter(50), generator(9)
        optimizer = SGLD([("w", p)], 0.1, num_data=10, weight=W, generator=g)
        for i in range(6):
            if i == 3 and interrupt:
                saved, weights = optimizer.state_dict(), p.detach().clone()
                p = torch.nn.Parameter(torch.empty(50).copy_(weights))
                optimizer = SGLD([("w", p)], 99.0, num_data=1, weight=W, generator=generator(1))
                with torch.no_grad():
                    p.copy_(weights)
                optimizer.load_state_dict(saved)
                optimizer.generator = g
            p.grad = torch.randn(50, generator=generator(i))
            optimizer.step()
        return p.detach(), optimizer.param_groups[0]["steps"]

    straight, resumed = run(False), run(True)
    assert torch.equal(straight[0], resumed[0]) and straight[1] == resumed[1] == 6


def test_groups_may_have_their_own_formats():
    a, b = parameter(100), parameter(100, seed=1)
    optimizer = SGLD([{"params": [a]}, {"params": [b], "weight": "full"}], 0.1, num_data=10, weight=W)
    before = b.detach().clone()
    assert torch.equal(quantize(a.detach(), W, "nearest"), a) and torch.equal(b, before)
    a.grad = torch.ones(100)
    optimizer.step()
    assert torch.equal(b, before), "no gradient, no step"


def test_a_closure_is_evaluated_with_gradients():
    p = parameter(3)
    optimizer = SGLD([p], 0.1, num_data=1, temperature=0.0)

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_stops_before_anything_changes(bad):
    model = torch.nn.Linear(3, 2)
    optimizer = SGLD(model.named_parameters(), 0.1, num_data=10, weight=W, generator=generator())
    for i in range(3):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        if i == 2:
            model.bias.grad[1] = bad
        before = [p.detach().clone() for p in model.parameters()]
        if i < 2:
            optimizer.step()
    with pytest.raises(NonFiniteGradient, match="step 3: the gradient of bias") as error:
        optimizer.step()
    assert (error.value.step, error.value.parameter) == (3, "bias")
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_unnamed_parameters_are_counted():
    p, q = parameter(2), parameter(2)
    optimizer = SGLD([p, q], 0.1, num_data=10)
    q.grad = torch.tensor([0.0, math.nan])
    with pytest.raises(NonFiniteGradient, match="parameter 1"):
        optimizer.step()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"num_data": 0}, "num_data is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"weight_decay": math.inf}, "weight_decay is inf"),
        ({"lr": torch.tensor(math.nan)}, "lr is tensor.nan"),
        ({"lr": torch.tensor([0.1])}, "lr is tensor"),
        ({"lr": "0.1"}, "lr is '0.1'"),
        ({"lr": None}, "lr is None"),
        ({"num_data": torch.tensor(0)}, "num_data is tensor.0"),
        ({"num_data": math.nan}, "num_data is nan"),
        ({"temperature": torch.tensor(-1.0)}, "temperature is tensor.-1"),
        ({"temperature": 1j}, "temperature is 1j"),
        ({"weight_decay": torch.tensor(math.inf)}, "weight_decay is tensor.inf"),
        ({"accumulator": "VC"}, '\'VC\'.*"full", "naive", "vc"'),
        ({"weight": "fixd(8,3)"}, 'Did you mean "fixed'),
        ({"weight": "nvfp4", "accumulator": "vc"}, "no variance-corrected rounding.*no power of two"),
        ({"weight": "block(2,0)", "accumulator": "vc"}, "too few codes for variance-corrected rounding"),
        ({"weight": "block(2,0)", "accumulator": "vc-released"}, "too few codes for variance-corrected rounding"),
        ({"weight": "fixed(8,3)", "accumulator": "vc-released"}, "the released code does what the paper says: use the"),
    ],
)
def test_arguments_that_make_no_sense(arguments, says):
    with pytest.raises(ValueError, match=says):
        SGLD([parameter(2)], **{"lr": 0.1, "num_data": 10, **arguments})


def test_update_refuses_an_unknown_accumulator():
    with pytest.raises(ValueError, match="low"):
        accumulate(torch.zeros(2), 0.1, W, "low")


# ---- schedules -------------------------------------------------------------------------------------------------------


def test_decay_is_the_papers():
    schedule = decay()
    assert [schedule(t) for t in (0.0, 0.25, 0.5)] == [1.0, 1.0, 1.0]
    assert schedule(0.7) == pytest.approx((1 + 0.01) / 2)
    assert schedule(0.9) == pytest.approx(0.01) and schedule(0.99) == pytest.approx(0.01)


def test_cyclical_starts_every_cycle_at_the_top():
    schedule = cyclical(7)
    for k in range(7):
        assert schedule(k / 7 + 1e-9) == pytest.approx(1.0)
        assert schedule((k + 0.5) / 7) == pytest.approx(0.5)
        assert schedule((k + 1) / 7 - 1e-9) == pytest.approx(0.0, abs=1e-9)
    assert constant()(0.3) == 1.0


def test_schedules_that_make_no_sense():
    for call in (lambda: cyclical(0), lambda: cyclical(2.5), lambda: decay(0.9, 0.5), lambda: decay(final=0.0)):
        with pytest.raises(ValueError, match="cyclical|decay"):
            call()


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ({"wieght": "fixed(8,3)"}, 'no setting of a parameter group .wieght.*Did you mean "weight"'),
        ({"weight": "fixd(8,3)"}, "Did you mean"),
        ({"weight": "nvfp4", "accumulator": "vc"}, "no power of two"),
        ({"temperature": -1.0}, "temperature is -1.0"),
    ],
)
def test_a_group_that_makes_no_sense_changes_nothing(group, says):
    first, second = parameter(10), parameter(10, seed=1)
    optimizer = SGLD([first], 0.1, num_data=10)
    before = second.detach().clone()
    with pytest.raises(ValueError, match=says):
        optimizer.add_param_group({"params": [second]} | group)
    assert torch.equal(second, before) and len(optimizer.param_groups) == 1


@pytest.mark.parametrize("weight", ["block(8,0)", formats.parse("block(8,0)"), BlockFloatingPoint(8, 0)])
def test_groups_take_a_format_in_each_of_its_three_forms(weight):
    p, q = parameter(4, 5), parameter(4, 5, seed=1)
    before = q.detach().clone()
    optimizer = SGLD([{"params": [p]}, {"params": [q], "weight": weight}], 0.1, num_data=10, accumulator="naive")
    assert optimizer.param_groups[1]["weight"] == "block(8,0)" and optimizer.param_groups[0]["weight"] == "full"
    assert torch.equal(q, quantize(q.detach(), "block(8,0)", "nearest")) and not torch.equal(q, before)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("lr", math.nan, "lr is nan"),
        ("lr", torch.tensor(math.nan), "lr is tensor.nan"),
        ("lr", -0.1, "lr is -0.1"),
        ("temperature", -1.0, "temperature is -1.0"),
        ("num_data", 0, "num_data is 0"),
        ("weight_decay", torch.tensor(-1.0), "weight_decay is"),
        ("weight", "fixd(8,3)", "Did you mean"),
        ("accumulator", "both", "both"),
    ],
)
def test_a_setting_that_a_group_is_given_later_stops_the_step_before_anything_changes(setting, value, says):
    a, b = parameter(10), parameter(10, seed=1)
    optimizer = SGLD([{"params": [a]}, {"params": [b]}], 0.1, num_data=10, weight=W)
    before = [p.detach().clone() for p in (a, b)]
    a.grad = b.grad = torch.ones(10)
    optimizer.param_groups[1][setting] = value
    with pytest.raises(ValueError, match=says):
        optimizer.step()
    assert torch.equal(a, before[0]) and torch.equal(b, before[1]) and optimizer.param_groups[0]["steps"] == 0


def test_schedulers_of_torch_may_start_from_a_step_size_of_zero():
    p = parameter(10)
    optimizer = SGLD([{"params": [p], "name": "all", "initial_lr": 0.1}], 0.1, num_data=10, weight=W)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, epoch / 5))
    for _ in range(3):
        p.grad = torch.ones(10)
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.06)


def test_parameters_that_no_step_fits_are_refused():
    for p, says in (
        (torch.nn.Parameter(torch.ones(2, dtype=torch.complex64)), "complex"),
        (torch.nn.Embedding(5, 2, sparse=True), "dense gradients"),
    ):
        with pytest.raises(TypeError, match=says):
            if isinstance(p, torch.nn.Embedding):
                p(torch.tensor([1, 2])).sum().backward()
                SGLD(p.parameters(), 0.1, num_data=1).step()
            else:
                SGLD([p], 0.1, num_data=1)


def test_empty_parameters_and_several_precisions_take_steps_together():
    parts = [torch.nn.Parameter(torch.ones(n, dtype=kind)) for n, kind in ((0, torch.float32), (3, torch.float64))]
    parts += [torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)), parameter(3)]
    optimizer = SGLD(parts, 0.5, num_data=1, temperature=0.0, weight="fixed(8,3)")
    for p in parts:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all((p == 0.5).all() for p in parts[1:3])
    parts[2].grad[1] = math.inf
    with pytest.raises(NonFiniteGradient, match="parameter 2"):
        optimizer.step()


@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
def test_a_prior_is_told_by_its_standard_deviation(sampler):
    p = [torch.zeros(2, requires_grad=True)]
    assert sampler(p, 0.1, num_data=50_000, prior_std=0.2).param_groups[0]["weight_decay"] == pytest.approx(5e-4)
    with pytest.raises(ValueError, match="weight_decay=0.1 and prior_std=0.2 both tell the prior: give one"):
        sampler(p, 0.1, num_data=10, weight_decay=0.1, prior_std=0.2)
    with pytest.raises(ValueError, match="prior_std"):
        sampler(p, 0.1, num_data=10, prior_std=0.0)
