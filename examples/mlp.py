"""An MLP on scikit-learn's diabetes data, sampled in 8 bits; first without hidden units, where the answer is known.

python examples/mlp.py --out samples-mlp
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn

from lpsgld import SGLD, Posterior, metrics
from lpsgld.toy.exact import covariance
from lpsgld.toy.targets import MultivariateGaussian

NOISE, PRIOR, LR = 0.7, 1.0, 0.05  # std of a target around its prediction, of a weight a priori; step size

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=8000, help="250 or more: the last four fifths give 200 samples")
parser.add_argument("--out", type=Path, default=Path("samples-mlp"), help="a new folder for the samples")
options = parser.parse_args()

torch.manual_seed(0)
data = torch.from_numpy(np.column_stack(load_diabetes(return_X_y=True)))
data = ((data - data.mean(0)) / data.std(0))[torch.randperm(len(data))].float()
(x, test_x), (y, test_y) = data[:, :-1].split((342, 100)), data[:, -1:].split((342, 100))


def predictions(net: nn.Module, folder: Path) -> torch.Tensor:
    """What each posterior sample predicts for the test data [samples, 100, 1]."""
    weight = {"*bias": None, "*": "block(8,0)"}  # by the names of parameters, the first match counts
    optimizer = SGLD(net.named_parameters(), LR, num_data=len(x), prior_std=PRIOR, weight=weight, accumulator="vc")
    posterior = Posterior(folder, net, optimizer)
    for step in range(1, options.steps + 1):
        optimizer.zero_grad()
        ((net(x) - y).square().mean() / (2 * NOISE**2)).backward()  # the mean of negative log likelihoods
        optimizer.step()
        if step > options.steps // 5 and step % (options.steps // 250) == 0:
            posterior.keep(step=step)
    return posterior.draws(lambda net: net(test_x))[0]


linear = predictions(nn.Linear(10, 1), options.out / "linear")[..., 0]
inputs, asked = (nn.functional.pad(each, (0, 1), value=1.0).double() for each in (x, test_x))  # 1 for the bias
exact = torch.linalg.inv(inputs.T @ inputs / NOISE**2 + torch.eye(11) / PRIOR**2)
mean = exact @ inputs.T @ y[:, 0].double() / NOISE**2
stepped = torch.from_numpy(covariance(MultivariateGaussian(mean, exact), LR / len(x)))  # of steps of this size
stds = [(asked @ each * asked).sum(1).sqrt() for each in (exact, stepped)]
off = ((linear.mean(0) - asked @ mean) / stds[0]).square().mean().sqrt()
print(f"linear, mean of predictions: off by {off:.2f} exact standard deviations")
print(f"linear, their spread over the exact one: {(linear.std(0) / stds[0]).mean():.3f}")
print(f"the same for steps of this size in full precision, exactly: {(stds[1] / stds[0]).mean():.3f}")

mlp = predictions(nn.Sequential(nn.Linear(10, 50), nn.Tanh(), nn.Linear(50, 1)), options.out / "mlp")
for name, found in (("last sample", mlp[-1:]), (f"average of {len(mlp)}", mlp)):
    nll, inside = metrics.gaussian_nll(found, test_y, NOISE), metrics.coverage(found, test_y, NOISE)
    rmse = metrics.rmse(found.mean(0), test_y)
    print(f"MLP, {name}: RMSE {rmse:.3f}, NLL {nll:.3f}, 90 % intervals hold {inside:.0%}")
