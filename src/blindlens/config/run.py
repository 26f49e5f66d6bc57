"""One run of `infer`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .base import Config, Stage
from .baselines import BirdConfig, BlindDPSConfig, FastEMConfig
from .joint import CompareConfig, EvidenceConfig, LatentConfig, RenoiseConfig, SplitGibbsConfig
from .paper import GibbsDDRMConfig, SourceConfig
from .physics import PhysicsConfig
from .start import InitialiseConfig

Method = Literal["joint", "renoise", "latent", "gibbsddrm", "evidence", "blind-dps", "fast-em", "bird"]


LensLightName = Literal["auto", "none", "mge", "mge2", "sersic"]


WIDE = {
    "q": (0.35, 1.0),
    "Rein": (0.4, 3.0),
    "t": (0.5, 1.5),
    "gamma": (-0.25, 0.25),
    "xs": (-0.7, 0.7),
    "ys": (-0.7, 0.7),
    "a": (0.0, 0.05),
}
"""Prior ranges for real galaxies: those of SLACS, with room; a: of multipoles."""


class LensConfig(Stage):
    """The mass model: its components, the set of prior ranges, and those that differ from it, {name: [low, high]}.

    The redshifts are needed by components that are told by their mass (nfw_subhalo).
    """

    mass: tuple[str, ...] = ("epl", "shear", "multipole3")
    priors: Literal["auto", "paper", "wide"] = Field(
        default="auto",
        description="paper: the ranges of a simulated system; wide: of real galaxies, with q and phi, a_m and phi_m "
        "uniform in their plane; auto: wide with lens light",
    )
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    z_lens: float | None = Field(default=None, gt=0)
    z_source: float | None = Field(default=None, gt=0)

    def arguments(self) -> dict[str, Any]:
        """What a LensModel is made from."""
        redshifts = {"z_lens": self.z_lens, "z_source": self.z_source}
        return {"mass": self.mass, "ranges": self.ranges, "disc": self.priors == "wide", **redshifts}

    @property
    def elliptical(self) -> bool:
        """Is there a power law of ours?"""
        return "epl" in self.mass or "sie" in self.mass

    def prior_ranges(self, priors: str) -> dict[str, tuple[float, float]]:
        """The ranges that differ from the paper's with that set of priors; `ranges` has the last word."""
        wide = {} if priors != "wide" else {name: WIDE[name] for name in ("xs", "ys")}
        if priors == "wide":
            wide |= {name: WIDE[name] for name in ("q", "Rein") if self.elliptical}
            wide |= {"t": WIDE["t"]} if "epl" in self.mass else {}
            wide |= {name: WIDE["gamma"] for name in ("gamma_1", "gamma_2") if "shear" in self.mass}
            orders = (name.removeprefix("multipole") for name in self.mass if name.startswith("multipole"))
            wide |= {f"a_{m}": WIDE["a"] for m in orders}
        return wide | self.ranges


class RunConfig(Config):
    """One run of `infer`."""

    method: Method = Field(
        default="joint",
        description="joint: split_gibbs for a Gaussian prior, renoise for another; renoise for any; latent, with "
        "fewer approximations, and slower; the paper's; the exact oracle; or a baseline to compare with",
    )
    lens_params: Path | None = Field(
        default=None, description="a file of lens parameters that are known: the source alone is drawn"
    )
    prior: str = Field(default="galaxy64", description="a prior's name in the package, or a path")
    source_fov: float | None = Field(
        default=None, gt=0, description="source field in arcsec; null: chosen from the data"
    )
    flux_scale: Annotated[float, Field(gt=0)] | Literal["infer"] = "infer"
    lens_light: LensLightName = Field(
        default="auto",
        description="of the lens galaxy: none; mge, a multi-Gaussian expansion; mge2, two of them round one centre; "
        "sersic; auto: mge2 if the image is brightest at its centre",
    )
    contaminants: Literal["mask", "keep"] = Field(
        default="mask", description="light on the sky that is neither the lens's nor the source's"
    )
    noise_scale: Annotated[float, Field(gt=0)] | Literal["infer"] = Field(
        default=1.0, description="factor on the noise map; infer: a parameter, log-uniform from 0.3 to 3"
    )
    trim: bool = Field(default=True, description="use the central part of the image only, where the source can be seen")
    bin: int = Field(default=1, ge=1, description="pixels a side averaged into one beforehand")
    supersampling: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="rays per image pixel and side; auto: by the size of source pixels and how bright arcs are",
    )
    interpolation: Literal["bilinear", "cubic"] = Field(default="cubic", description="of the source between its pixels")
    surrogate: str = Field(default="galaxy-gaussian", description="Gaussian for the cold start, if the prior is none")
    draws: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="draws per chain; auto: 64, or 24 where each costs a sweep of renoise or latent"
    )
    chains: int = Field(default=4, ge=1)
    seed: int = Field(default=0, ge=0)
    lens: LensConfig = LensConfig()
    initialise: InitialiseConfig = InitialiseConfig()
    split_gibbs: SplitGibbsConfig = SplitGibbsConfig()
    renoise: RenoiseConfig = RenoiseConfig()
    latent: LatentConfig = LatentConfig()
    gibbsddrm: GibbsDDRMConfig = GibbsDDRMConfig()
    source: SourceConfig = SourceConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    compare: CompareConfig = CompareConfig()
    blind_dps: BlindDPSConfig = BlindDPSConfig()
    fast_em: FastEMConfig = FastEMConfig()
    bird: BirdConfig = BirdConfig()
    physics: PhysicsConfig = PhysicsConfig()

    def size(self, denoised: bool) -> tuple[int, int]:
        """Chains, and draws of each; denoised: are they of `renoise` or `latent`?"""
        return self.chains, (24 if denoised else 64) if self.draws == "auto" else self.draws

    @property
    def masks_neighbours(self) -> bool:
        """Are neighbours looked for? In images with lens light: those without are simulated, or have been cleaned."""
        return self.contaminants == "mask" and self.lens_light not in ("auto", "none")

    @model_validator(mode="after")
    def _together(self) -> Self:
        known = self.lens_params is not None
        if known and self.method != "joint":
            raise ValueError(f"with lens_params the source alone is drawn; leave method {self.method} out")
        if known and self.initialise.method != "low-rank":
            raise ValueError("with lens_params there is no lens to look for; leave initialise.method (--init) out")
        elsewhere = known or self.method not in ("joint", "renoise", "latent", "evidence")
        if self.method == "gibbsddrm" and self.lens.priors == "wide":
            raise ValueError("gibbsddrm goes with uniform priors alone; leave lens.priors out, and give lens.ranges")
        if elsewhere and self.noise_scale == "infer":
            raise ValueError("only method joint infers noise_scale; give a number")
        if elsewhere and self.lens_light not in ("auto", "none"):
            what = "a known lens" if known else self.method
            raise ValueError(f"{what} goes without lens light; give lens_light: none, or method: joint")
        return self


def presets() -> list[str]:
    """Names of the presets of `infer` in the package."""
    return RunConfig.presets()
