"""The joint samplers and the exact oracle."""

from typing import Self

from pydantic import Field, model_validator

from .base import Stage


class SplitGibbsConfig(Stage):
    """The joint sampler for Gaussian priors."""

    warmup: int = Field(default=64, ge=1, description="sweeps before the first draw")
    thin: int = Field(default=1, ge=1, description="sweeps per draw")
    leaps: int = Field(
        default=12, ge=1, description="of a Hamiltonian move, a quarter of a turn, at the most; one gradient more"
    )
    jumps: int = Field(default=2, ge=1, description="independent lens proposals a sweep, from the mixture of all modes")
    translations: int = Field(default=4, ge=0, description="moves of the source's field by some pixels a sweep")
    bias: float = Field(default=0.02, gt=0, description="rho^2 lambda_max(A A^T): greatest excess noise")
    cg_tolerance: float = Field(default=1e-4, gt=0, description="of z | x, l")
    cg_steps: int = Field(default=100, ge=1, description="of z | x, l, at the most")


class RenoiseConfig(Stage):
    """The joint sampler for priors that are not Gaussian. Noise is in model units."""

    warmup: int = Field(default=10, ge=1, description="sweeps before the first draw")
    thin: int = Field(default=1, ge=1, description="sweeps per draw")
    first: float = Field(default=2.0, gt=0, description="noise from which a sweep starts at the most")
    last: float = Field(default=0.1, gt=0, description="least noise at which the lens moves")
    levels: int = Field(default=2, ge=2, description="noise levels at which it does, spread evenly in their logarithm")
    end: float = Field(default=0.01, gt=0, description="noise at which the diffusion ends")
    misfit: float = Field(
        default=0.0, ge=0, description="share by which chi2 of the mean source at `first` may exceed that at `last`"
    )
    unseen: float = Field(
        default=0.03, ge=0, description="chi2 per pixel of what the directions leave of a source that the start expects"
    )
    rank: int = Field(default=384, ge=1, description="directions of the source that follow the lens at the most")
    krylov: int = Field(default=48, ge=0, description="further ones, by what is left of the image")
    translations: int = Field(default=2, ge=0, description="moves of the source by a whole pixel, and in size, a sweep")
    jumps: int = Field(default=2, ge=1, description="of the lens between the modes found, at the first level")
    climb: int = Field(default=2, ge=1, description="Levenberg-Marquardt steps to the lens's local mode")
    moves: int = Field(default=1, ge=1, description="flights of lens and noisy source a level")
    leaps: int = Field(default=6, ge=1, description="steps of such a flight")
    angle: float = Field(default=0.3, gt=0, lt=1, description="of such a step at first, in radians; warm-up adapts it")
    lens_moves: int = Field(default=2, ge=1, description="flights of the lens alone a level")
    lens_leaps: int = Field(default=12, ge=1, description="steps of such a flight, a quarter of a turn, at the most")
    lens_angle: float = Field(default=0.5, gt=0, lt=1, description="of such a step at first; warm-up adapts it too")
    steps: int = Field(default=8, ge=2, description="of the diffusion from one level to the next, a denoiser each")

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if not self.first > self.last > self.end:
            raise ValueError("noise must fall from `first` over `last` to `end`")
        return self


class LatentConfig(Stage):
    """The other joint sampler for such priors, in the flow's coordinates, after the warm-up of `renoise`. Noise is in
    model units.
    """

    sigma: float = Field(default=0.3, gt=0, description="noise of the images that fly in the source's place")
    end: float = Field(default=0.01, gt=0, description="noise at which the flow to sources ends")
    steps: int = Field(default=6, ge=2, description="of that flow, a denoiser each")
    warmup: int = Field(default=10, ge=1, description="sweeps that adapt coordinates and angle, before the first draw")
    thin: int = Field(default=1, ge=1, description="sweeps per draw")
    moves: int = Field(default=2, ge=1, description="flights a sweep")
    leaps: int = Field(default=12, ge=1, description="steps of a flight")
    angle: float = Field(default=0.2, gt=0, lt=1, description="of such a step at first, in radians; warm-up adapts it")
    translations: int = Field(default=1, ge=0, description="moves of the source by a whole pixel, and in size, a sweep")

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if not self.sigma > self.end:
            raise ValueError("the flow ends at less noise than it begins with; give an `end` below `sigma`")
        return self


class EvidenceConfig(Stage):
    """The exact oracle for a Gaussian prior: SMC and NUTS on the evidence, then the source given the lens."""

    moves: int = Field(default=3, ge=1, description="rounds of moves of every draw after the SMC")


class CompareConfig(Stage):
    """Evidence of two mass models: a scan of the extra components, then population Monte Carlo."""

    scan: int = Field(default=1000, ge=10, description="draws of the extra parameters' prior about each mode")
    starts: int = Field(default=4, ge=1, description="of these, the best distinct ones climb")
    components: int = Field(default=24, ge=1, description="kernels that cover the extra parameters' prior")
    draws: int = Field(default=500, ge=20, description="lenses a round; twice as many in the last, which counts")
    rounds: int = Field(default=4, ge=1, description="from which the mixture learns before")
