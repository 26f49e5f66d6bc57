"""One run of `infer`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import Config, Stage
from .baselines import BirdConfig, BlindDPSConfig, FastEMConfig
from .joint import CompareConfig, EvidenceConfig, RenoiseConfig, SplitGibbsConfig
from .paper import GibbsDDRMConfig, SourceConfig
from .start import InitialiseConfig

Method = Literal["joint", "renoise", "gibbsddrm", "evidence", "blind-dps", "fast-em", "bird"]


class LensConfig(Stage):
    """The mass model: its components, and prior ranges that differ from the defaults, {name: [low, high]}.

    The redshifts are needed by components that are told by their mass (nfw_subhalo).
    """

    mass: tuple[str, ...] = ("epl", "shear", "multipole3")
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    z_lens: float | None = Field(default=None, gt=0)
    z_source: float | None = Field(default=None, gt=0)


class RunConfig(Config):
    """One run of `infer`."""

    method: Method = Field(
        default="joint",
        description="joint: split_gibbs for a Gaussian prior, renoise for another; renoise for any; the paper's; the "
        "exact oracle; or a baseline to compare with",
    )
    lens_params: Path | None = Field(
        default=None, description="a file of lens parameters that are known: the source alone is drawn"
    )
    prior: str = Field(default="galaxy-gaussian", description="a prior's name in the package, or a path")
    source_fov: float | None = Field(
        default=None, gt=0, description="source field in arcsec; null: chosen from the data"
    )
    flux_scale: Annotated[float, Field(gt=0)] | Literal["infer"] = "infer"
    lens_light: Literal["none", "mge"] = "none"
    trim: bool = Field(default=True, description="use the central part of the image only, where the source can be seen")
    bin: int = Field(default=1, ge=1, description="pixels a side averaged into one beforehand")
    supersampling: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="rays per image pixel and side; auto: a source pixel apart at most, up to 4",
    )
    interpolation: Literal["bilinear", "cubic"] = Field(default="cubic", description="of the source between its pixels")
    surrogate: str = Field(default="galaxy-gaussian", description="Gaussian for the cold start, if the prior is none")
    draws: int = Field(default=64, ge=1, description="draws per chain")
    chains: int = Field(default=4, ge=1)
    seed: int = Field(default=0, ge=0)
    lens: LensConfig = LensConfig()
    initialise: InitialiseConfig = InitialiseConfig()
    split_gibbs: SplitGibbsConfig = SplitGibbsConfig()
    renoise: RenoiseConfig = RenoiseConfig()
    gibbsddrm: GibbsDDRMConfig = GibbsDDRMConfig()
    source: SourceConfig = SourceConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    compare: CompareConfig = CompareConfig()
    blind_dps: BlindDPSConfig = BlindDPSConfig()
    fast_em: FastEMConfig = FastEMConfig()
    bird: BirdConfig = BirdConfig()

    @model_validator(mode="after")
    def _together(self) -> Self:
        known = self.lens_params is not None
        if known and self.method != "joint":
            raise ValueError(f"with lens_params the source alone is drawn; leave method {self.method} out")
        if known and self.initialise.method != "low-rank":
            raise ValueError("with lens_params there is no lens to look for; leave initialise.method (--init) out")
        if (known or self.method not in ("joint", "renoise", "evidence")) and self.lens_light != "none":
            what = "a known lens" if known else self.method
            raise ValueError(f"{what} goes without lens light; give lens_light: none, or method: joint")
        return self


def presets() -> list[str]:
    """Names of the presets of `infer` in the package."""
    return RunConfig.presets()
