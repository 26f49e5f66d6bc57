"""Other methods for an unknown operator, from their papers: to compare with, not to use."""

from typing import Literal

from pydantic import Field

from .base import Stage
from .paper import GuidanceConfig


class BlindDPSConfig(Stage):
    """BlindDPS: source and lens diffuse side by side, each from its prior."""

    solver: Literal["heun", "euler-maruyama"] = "euler-maruyama"
    steps: int = Field(default=1000, ge=1, description="evenly spaced in log sigma")
    zeta: float = Field(
        default=1.0,
        gt=0,
        description="of the gradient of |residual| in the source; a step moves by 2 zeta d log sigma times it",
    )
    zeta_lens: float = Field(default=0.1, gt=0, description="the same of the lens, in normal coordinates")


class FastEMConfig(Stage):
    """Fast diffusion EM: several sources diffuse side by side, and their best common lens is found on the way."""

    guidance: GuidanceConfig = GuidanceConfig(method="pigdm", variance="cla", cg_tolerance=0.01, cg_steps=30)
    solver: Literal["heun", "euler-maruyama"] = "heun"
    steps: int = Field(default=300, ge=1, description="evenly spaced in log sigma")
    sources: int = Field(default=4, ge=1, description="that share a lens, the draws of the E step")
    begin: float = Field(default=0.7, ge=0, le=1, description="diffusion time from which the lens moves")
    newton: int = Field(default=2, ge=1, description="Levenberg-Marquardt steps of the lens a diffusion step")


class BirdConfig(Stage):
    """BIRD: the noise that a short diffusion turns into the source, and the lens, by gradient descent."""

    steps: int = Field(default=10, ge=2, description="of the diffusion, evenly spaced in log sigma")
    iterations: int = Field(default=300, ge=1, description="of Adam")
    rate: float = Field(default=0.02, gt=0, description="learning rate of the noise, of unit variance a pixel")
    rate_lens: float = Field(default=0.005, gt=0, description="of the lens, in normal coordinates")
