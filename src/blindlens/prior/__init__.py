"""Priors on source galaxies. `load_prior(name or path)` returns a Denoiser."""

from ..errors import BlindlensError
from .checkpoint import load_arrays, locate, shipped
from .denoiser import Denoiser
from .gaussian import GaussianPrior
from .score import ScorePrior

__all__ = ["Denoiser", "GaussianPrior", "ScorePrior", "load_prior", "shipped"]


def load_prior(name: str, n: int | None = None) -> Denoiser:
    """The prior of that name in the package, or in the file at that path; n: source pixels a side.

    BlindlensError for a file that is missing, corrupt or no prior, or a score prior of another n than asked for.
    """
    path = locate(name)
    if load_arrays(path)[1].get("kind") != "score":
        return GaussianPrior.load(path, n)
    prior = ScorePrior.load(path)
    if n not in (None, prior.n):
        raise BlindlensError(
            f"{path} is a prior on images of {prior.n} x {prior.n} pixels, not {n} x {n}; ask for {prior.n} pixels a "
            "side, or give galaxy-gaussian, which takes any number"
        )
    return prior
