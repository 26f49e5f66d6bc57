"""Guided denoisers: a denoiser of the prior and a linear measurement make the denoiser of the posterior."""

from .moment_matching import LocalGaussian, MomentMatching, local_gaussian

__all__ = ["LocalGaussian", "MomentMatching", "local_gaussian"]
