"""lpsgld: low-precision stochastic gradient Langevin dynamics, to learn from and to build on.

The numerics are imported here; the worlds whose answer is known live in `lpsgld.toy`, neural networks in
`lpsgld.bnn`, what a notebook shows in `lpsgld.lab`, and papermill runs of the notebooks in `lpsgld.batch`.
"""

from lpsgld.rounding import Quantizer, quantize
from lpsgld.samplers.sgld import SGLD, NonFiniteGradient
from lpsgld.variance import vc_quantize

__all__ = ["SGLD", "NonFiniteGradient", "Quantizer", "quantize", "vc_quantize"]
__version__ = "0.1.0"
