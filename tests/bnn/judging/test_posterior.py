"""Samples of a network that is not ours: kept, counted, averaged, judged."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from lpsgld import SGLD, Posterior, diagnostics, storage
from lpsgld.storage import StorageError

FORMATS = {"*norm*": None, "*bias": None, "*": "block(8,0)"}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(hidden=nn.Linear(3, 5), norm=nn.LayerNorm(5), out=nn.Linear(5, 2)))


def run(folder, chain: int, steps: int, every: int = 1) -> tuple[Posterior, list[dict]]:
    net, generator = network(), torch.Generator().manual_seed(chain)
    sampler = SGLD(net.named_parameters(), 0.1, num_data=100, weight=FORMATS, accumulator="vc", generator=generator)
    posterior, states = Posterior(folder, net, sampler, chain=chain), []
    for step in range(steps):
        sampler.zero_grad()
        net(INPUTS).square().mean().backward()
        sampler.step()
        if step % every == 0:
            posterior.keep(step=step)
            states.append({name: x.clone() for name, x in net.state_dict().items()})
    return posterior, states


INPUTS = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))


def predict(net: nn.Module) -> torch.Tensor:
    return net(INPUTS).softmax(-1)


def of_states(states: list[dict]) -> torch.Tensor:
    net = network()
    with torch.no_grad():
        return torch.stack([predict(net) for state in states if net.load_state_dict(state)])


def test_samples_are_kept_in_their_formats_and_come_back(tmp_path):
    posterior, states = run(tmp_path, 0, 5)
    assert len(posterior) == 5 and len(posterior.chains) == 1
    for state, member in zip(states, posterior.members(), strict=True):
        assert not member.training and member is not posterior.net
        for name, x in member.state_dict().items():
            assert torch.equal(x, state[name])
    sample = storage.load_sample(posterior.chains[0][2])
    assert {name: fmt and fmt.name for name, fmt in sample.weight.items()} == {
        "hidden.weight": "block(8,0)",
        "hidden.bias": None,
        "norm.weight": None,
        "norm.bias": None,
        "out.weight": "block(8,0)",
        "out.bias": None,
    }
    assert sample.origin == {"step": 2}


def test_the_average_is_that_of_all_samples_and_the_network_is_left_alone(tmp_path):
    posterior, states = run(tmp_path, 0, 5)
    before = {name: x.clone() for name, x in posterior.net.state_dict().items()}
    torch.testing.assert_close(posterior.average(predict), of_states(states).mean(0), atol=1e-7, rtol=1e-6)
    assert posterior.net.training and all(torch.equal(x, before[n]) for n, x in posterior.net.state_dict().items())


def test_chains_count_in_turn_and_diagnostics_are_those_of_their_predictions(tmp_path):
    (_, first), (posterior, second) = run(tmp_path, 0, 10), run(tmp_path, 1, 8)
    drawn = torch.stack([of_states(first[:8]), of_states(second)])
    assert torch.equal(posterior.draws(predict), drawn)
    np.testing.assert_array_equal(posterior.rhat(predict), diagnostics.rhat(drawn))
    np.testing.assert_array_equal(posterior.ess(predict), diagnostics.effective_sample_size(drawn))
    order = [next(iter(member.parameters())).clone() for member in posterior.members()]
    assert len(posterior) == len(order) == 18
    assert torch.equal(order[0], first[0]["hidden.weight"]) and torch.equal(order[1], second[0]["hidden.weight"])
    assert torch.equal(order[-1], first[-1]["hidden.weight"])


def test_keeping_goes_on_after_what_is_there_and_strangers_do_not_count(tmp_path):
    run(tmp_path, 0, 3)
    (tmp_path / "notes.txt").write_text("mine")
    posterior, _ = run(tmp_path, 0, 2)
    names = [path.name for path in posterior.chains[0]]
    assert names == [f"chain-000-sample-{i:06}.safetensors" for i in range(5)]
    posterior.chains[0][0].unlink()
    assert posterior.keep().name == "chain-000-sample-000005.safetensors"
    assert repr(posterior) == f"Posterior({str(tmp_path)!r}: 5 samples of 1 chains)"


def test_without_an_optimizer_all_is_kept_as_it_is(tmp_path):
    net = network().to(torch.bfloat16)
    posterior = Posterior(tmp_path / "new", net)
    posterior.keep()
    for name, x in next(posterior.members()).state_dict().items():
        assert x.dtype == torch.bfloat16 and torch.equal(x, net.state_dict()[name])


def test_a_sample_of_another_network_is_told_by_what_differs(tmp_path):
    run(tmp_path, 0, 1)
    other = nn.Sequential(OrderedDict(hidden=nn.Linear(4, 5), last=nn.Linear(5, 2)))
    told = r"another network than Sequential: it lacks last.weight, last.bias; it alone has norm.bias, norm.weight, "
    told += r"out.bias, out.weight; of other shapes are hidden.weight \(\(5, 3\), not \(5, 4\)\)"
    with pytest.raises(StorageError, match=told):
        Posterior(tmp_path, other).average(predict)


def test_bad_input_is_told(tmp_path):
    posterior = Posterior(tmp_path / "none", network())
    for ask in (posterior.average, posterior.draws, posterior.rhat, posterior.ess):
        with pytest.raises(StorageError, match=r"holds no sample: call keep\(\)"):
            ask(predict)
    assert len(posterior) == 0 and list(posterior.members()) == []
    posterior.keep()
    with pytest.raises(TypeError, match="predict returned torch.int64"):
        posterior.average(lambda net: predict(net).argmax(-1))
    with pytest.raises(TypeError, match="predict returned list"):
        posterior.average(lambda net: [predict(net)])
    with pytest.raises(ValueError, match="at least 4 draws"):
        posterior.rhat(predict)
    with pytest.raises(ValueError, match="chain is -1"):
        Posterior(tmp_path, network(), chain=-1)
