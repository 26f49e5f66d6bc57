"""Priors on source galaxies. `load_prior(name or path)` returns a Denoiser."""

from .checkpoint import locate, shipped
from .denoiser import Denoiser
from .gaussian import GaussianPrior

__all__ = ["Denoiser", "GaussianPrior", "load_prior", "shipped"]


def load_prior(name: str, n: int | None = None) -> Denoiser:
    """The prior of that name in the package, or in the file at that path; n: source pixels a side."""
    return GaussianPrior.load(locate(name), n)
