"""lpsgld: low-precision stochastic gradient Langevin dynamics, to learn from and to build on.

The numerics have their names here; the worlds whose answer is known live in `lpsgld.toy`, neural networks in
`lpsgld.bnn`, what a notebook shows in `lpsgld.lab`, and papermill runs of the notebooks in `lpsgld.batch`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpsgld.bnn.judging.posterior import Posterior
    from lpsgld.bnn.network.quantizing import quantize_network
    from lpsgld.formats import parse
    from lpsgld.rounding import Quantizer, quantize
    from lpsgld.samplers.optimizer import NonFiniteGradient
    from lpsgld.samplers.sghmc import SGHMC
    from lpsgld.samplers.sgld import SGLD
    from lpsgld.variance import vc_quantize

__all__ = ["SGHMC", "SGLD", "NonFiniteGradient", "Posterior", "Quantizer"]
__all__ += ["parse", "quantize", "quantize_network", "vc_quantize"]
__version__ = "0.1.0"

_HOMES = {
    "Posterior": "bnn.judging.posterior",
    "SGHMC": "samplers.sghmc",
    "SGLD": "samplers.sgld",
    "NonFiniteGradient": "samplers.optimizer",
    "parse": "formats",
    "quantize_network": "bnn.network.quantizing",
}
_HOMES |= {"Quantizer": "rounding", "quantize": "rounding", "vc_quantize": "variance"}


def __getattr__(name: str) -> Any:
    """A public name, or a module of the package, imported when it is asked for.

    Torch takes seconds to import: a command that is interrupted meanwhile must already know how to end.
    """
    home = f"{__name__}.{_HOMES.get(name, name)}"
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name != home:
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = value = getattr(module, name) if name in _HOMES else module
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
