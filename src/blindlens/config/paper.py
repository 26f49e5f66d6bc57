"""The method of arXiv:2511.04792 and its parts."""

from typing import Literal, Self

from pydantic import Field, model_validator

from .base import Stage


class GuidanceConfig(Stage):
    """How a denoiser is told of the data; docs/paper_method.md compares them with the exact posterior."""

    method: Literal["mmps", "pigdm", "cla", "dps"] = "mmps"
    variance: Literal["cla", "pigdm", "eq12-model", "eq12-physical"] | None = Field(
        default=None, description="r_t^2 of pigdm and cla; null: cla"
    )
    zeta: float | None = Field(default=None, gt=0, description="of dps: steps of fixed length; null: the score itself")
    cg_tolerance: float = Field(default=1e-3, gt=0, description="relative residual of the linear solves")
    cg_steps: int | None = Field(
        default=None,
        ge=1,
        description="of conjugate gradients, at the most; null: 100, but 3 for mmps, as with a network more diverge",
    )

    @property
    def most_steps(self) -> int:
        """Of conjugate gradients."""
        return self.cg_steps or (3 if self.method == "mmps" else 100)

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.zeta is not None and self.method != "dps":
            raise ValueError(f"zeta is for dps, not for {self.method}; leave it out")
        if self.variance is not None and self.method not in ("cla", "pigdm"):
            raise ValueError(f"variance is for cla and pigdm, not for {self.method}; leave it out")
        if self.cg_steps is not None and self.method == "dps":
            raise ValueError("dps solves no equations; leave cg_steps out")
        return self


class SourceConfig(Stage):
    """The source alone, for a known lens: reverse diffusion from sigma_max to sigma_min."""

    guidance: GuidanceConfig = GuidanceConfig()
    solver: Literal["heun", "euler-maruyama", "predictor-corrector", "flow"] = "heun"
    steps: int = Field(default=400, ge=1, description="evenly spaced in log sigma")
    solve: Literal["cg", "spectral"] = Field(
        default="cg", description="of pigdm and cla; spectral: the image's pixels decomposed once, N^3 work"
    )
    batch: int = Field(default=8, ge=1, description="draws side by side on a device")

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.solve == "spectral" and self.guidance.method not in ("cla", "pigdm"):
            raise ValueError(f"solve: spectral is for cla and pigdm, not for {self.guidance.method}; give cg")
        return self


class RefineConfig(Stage):
    """The end of arXiv:2511.04792: a Gibbs sweep with NUTS for the lens, and p(l | y) as a mixture over sources."""

    step: float = Field(default=1e-3, gt=0, description="first step size of NUTS, in normal coordinates")
    warmup: int = Field(default=750, ge=20, description="steps that find step size and mass matrix")
    depth: int = Field(default=9, ge=1, le=12, description="doublings of a trajectory at the most")
    acceptance: float = Field(default=0.8, gt=0, lt=1, description="that the step size is to bring about")
    mass: Literal["diagonal", "dense"] = Field(default="diagonal", description="the mass matrix found")
    precondition: bool = Field(
        default=False, description="NUTS, `step` too, in units of the Fisher matrix's widths at the start"
    )
    samples: int = Field(default=1, ge=1, description="lenses kept of the Gibbs sweep, a source")
    marginal: int = Field(default=0, ge=0, description="lenses a source for p(l | y), the paper's 500; 0: none")
    components: int | None = Field(
        default=None, ge=1, description="sources, evenly spaced, for p(l | y), the paper's 406; null: all"
    )
    batch: int = Field(default=1, ge=1, description="draws side by side on a device; all wait for the longest tree")

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.components is not None and not self.marginal:
            raise ValueError("components are of the mixture; give marginal, the number of lenses for each")
        return self


class GibbsDDRMConfig(Stage):
    """The method of arXiv:2511.04792: the source by guided reverse diffusion, the lens by Langevin steps within it."""

    guidance: GuidanceConfig = GuidanceConfig(method="pigdm", variance="eq12-model")
    solver: Literal["heun", "euler-maruyama"] = "heun"
    steps: int = Field(default=400, ge=1, description="of the diffusion, evenly spaced in log sigma")
    window: tuple[float, float] = Field(default=(0.7, 0.2), description="diffusion times between which the lens moves")
    walk: int = Field(default=500, ge=1, description="Langevin steps of the lens a diffusion step")
    size: float = Field(default=1e-7, gt=0, description="of these")
    precondition: bool = Field(default=False, description="Langevin steps in units of the Fisher matrix's widths")
    covariance: Literal["none", "network"] = Field(
        default="none", description="network: the lens sees A V A^T too, V the denoiser's own, and its determinant"
    )
    rank: int = Field(default=64, ge=1, description="directions of V")
    repeats: int = Field(default=1, ge=1, description="times that x_t and the lens are redrawn at a diffusion step")
    end: bool = Field(default=True, description="a Gibbs sweep follows: the source by `redraw`, the lens by NUTS")
    redraw: SourceConfig = SourceConfig(guidance=GuidanceConfig(method="cla", variance="eq12-model"), steps=1000)
    refine: RefineConfig = RefineConfig()

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if not 1 >= self.window[0] > self.window[1] >= 0:
            raise ValueError("window must fall, from 1 at the most to 0 at the least")
        return self

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.redraw.solve == "spectral":
            raise ValueError("redraw.solve: spectral is for a lens that is known; give cg")
        if self.refine.marginal and not self.end:
            raise ValueError("refine.marginal needs the Gibbs sweep: give end: true")
        return self
