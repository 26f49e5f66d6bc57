"""Guided denoisers: a denoiser of the prior and a linear measurement make the denoiser of the posterior."""

from .cla import CLA
from .dps import DPS
from .guided import Guidance, Guided
from .mmps import MMPS
from .moment_matching import LocalGaussian, Measurement, MomentMatching, local_gaussian, moment_matching, prior_gaussian
from .pigdm import PiGDM
from .solvers import Cholesky, ConjugateGradients, Solver, Spectral
from .variances import RULES, Variance, variance

__all__ = [
    "CLA",
    "DPS",
    "MMPS",
    "Cholesky",
    "ConjugateGradients",
    "Guidance",
    "Guided",
    "LocalGaussian",
    "Measurement",
    "MomentMatching",
    "RULES",
    "PiGDM",
    "Solver",
    "Spectral",
    "Variance",
    "local_gaussian",
    "moment_matching",
    "prior_gaussian",
    "variance",
]
