"""One chain on two processes, as the docstring of SGLD says it: the replicas stay equal, bit for bit."""

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lpsgld import SGHMC, SGLD, Quantizer

SIZES = [(6, 6), (6, 3), (6, 6), (2, 5)]  # of the batches of the two processes


def process(rank: int, folder: str) -> None:
    patience = timedelta(minutes=2)  # gloo's own is half an hour, if one process should fail
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=patience)
    torch.save([train(rank, True), train(rank, False), train(rank, True, SGHMC)], Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def train(rank: int, own: bool, sampler: type = SGLD) -> torch.Tensor:
    """Weights and θ after a few steps. own: with generators as recommended, or all from the default one."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), Quantizer("fixed(8,4)", "fixed(8,6)"), nn.ReLU(), nn.Linear(4, 2))
    replica = DistributedDataParallel(net)
    noise = torch.Generator().manual_seed(1) if own else None
    optimizer = sampler(replica.parameters(), 0.05, num_data=100, weight="block(8,0)", generator=noise)
    if own:
        torch.manual_seed(10 + rank)
    images = torch.Generator().manual_seed(20 + rank)
    for sizes in SIZES:
        if sizes[rank] > sizes[1 - rank]:
            net(torch.ones(1, 5))  # evaluates alone
        optimizer.zero_grad()
        replica(torch.randn(sizes[rank], 5, generator=images)).square().mean().backward()
        optimizer.step()
    return torch.cat([x.detach().flatten() for p in net.parameters() for x in (p, optimizer.state[p]["theta"])])


@pytest.mark.slow
def test_replicas_stay_equal_if_the_noise_has_a_generator_of_its_own(tmp_path):
    torch.multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    (own, default, ball), (other_own, other_default, other_ball) = (
        torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)
    )
    assert torch.equal(own, other_own) and torch.equal(ball, other_ball)
    assert not torch.equal(default, other_default), "without, they drift apart after one has evaluated alone"
