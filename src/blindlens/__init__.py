"""blindlens: joint posteriors of the source galaxy and the lens mass, from one image of a strong lens."""

__version__ = "0.1.0"

from .config import RunConfig
from .errors import BlindlensError
from .inference.pipeline import infer
from .lens.mass import LensModel
from .lens.operator import LensOperator
from .lens.simulate import simulate
from .linear import LinearOperator
from .observation import Observation
from .posterior import Posterior
from .prior import Denoiser, load_prior

__all__ = [
    "BlindlensError",
    "Denoiser",
    "LensModel",
    "LensOperator",
    "LinearOperator",
    "Observation",
    "Posterior",
    "RunConfig",
    "infer",
    "load_prior",
    "simulate",
]
