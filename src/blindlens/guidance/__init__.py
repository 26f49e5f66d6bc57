"""Guided denoisers: a denoiser of the prior and a linear measurement make the denoiser of the posterior."""

from .moment_matching import LocalGaussian, Measurement, MomentMatching, local_gaussian, moment_matching

__all__ = ["LocalGaussian", "Measurement", "MomentMatching", "local_gaussian", "moment_matching"]
