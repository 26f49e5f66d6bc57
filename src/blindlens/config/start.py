"""Where a run begins."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from .base import Stage


class SersicConfig(Stage):
    """The start of arXiv:2511.04792: Adam on a Sersic profile behind the lens; prior ranges of the profile."""

    starts: int = Field(default=64, ge=1, description="random starts")
    steps: int = Field(default=500, ge=1, description="of Adam")
    rate: float = Field(default=0.25, gt=0, description="learning rate in normal coordinates, at first")
    rays: int = Field(default=2, ge=1, description="per image pixel and side")
    batch: int = Field(default=16, ge=1, description="starts that climb side by side on a device")
    q: tuple[float, float] = (0.4, 1.0)
    n: tuple[float, float] = (0.5, 4.0)
    R_e: tuple[float, float] = Field(default=(0.1, 1.0), description="arcsec")


class InitialiseConfig(Stage):
    """The cold start: prior draws ranked, the best climb while the noise is annealed, distinct modes are polished."""

    method: Literal["low-rank", "sersic-adam"] | Path = Field(
        default="low-rank",
        description="where first modes come from: this cold start, a Sersic source, or a file of lens parameters",
    )
    draws: int = Field(default=2000, ge=1, description="lenses drawn from the prior")
    starts: int = Field(default=16, ge=1, description="of these, the best climb")
    noise: float = Field(default=10.0, ge=1, description="the noise is first multiplied by this")
    steps: int = Field(default=150, ge=1, description="ascent steps")
    rate: float = Field(default=0.1, gt=0, description="step size in normal coordinates")
    polish_steps: int = Field(default=20, ge=1, description="Levenberg-Marquardt steps with the full evidence")
    keep: int = Field(default=8, ge=1, description="distinct modes kept")
    pixels: int = Field(default=64, ge=8, description="pixels a side to which larger images are binned at first")
    rank: int = Field(default=40, ge=1, description="eigen-galaxies of the cheap evidence")
    tail: float = Field(default=4.0, gt=0, description="information on the source (nats, twice) that may be left out")
    most_rank: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="directions of the source that follow the lens at the most; auto: 384 to 128, fewer with more rays",
    )
    within: float = Field(default=30.0, gt=0, description="modes this many nats below the best are dropped")
    sersic: SersicConfig = SersicConfig()

    def directions(self, rays: int) -> int:
        """`most_rank`; by default as many as cost no more than 192 with 16 rays, 128 at least. rays: of a pixel."""
        return min(384, max(128, 192 * 16 // rays)) if self.most_rank == "auto" else self.most_rank

    @property
    def file(self) -> Path | None:
        """The file that the method names, if it does."""
        return self.method if isinstance(self.method, Path) else None
