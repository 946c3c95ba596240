"""lpsgld: low-precision stochastic gradient Langevin dynamics, to learn from and to build on.

The numerics are imported here; the worlds whose answer is known live in `lpsgld.toy`, neural networks in
`lpsgld.bnn`, what a notebook shows in `lpsgld.lab`, and papermill runs of the notebooks in `lpsgld.batch`.
"""

from lpsgld.formats import parse
from lpsgld.rounding import Quantizer, quantize
from lpsgld.samplers.optimizer import NonFiniteGradient
from lpsgld.samplers.sgld import SGLD
from lpsgld.variance import vc_quantize

__all__ = ["SGLD", "NonFiniteGradient", "Quantizer", "parse", "quantize", "vc_quantize"]
__version__ = "0.1.0"
