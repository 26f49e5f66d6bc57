"""A study of coverage: which systems are made, what is wrongly assumed of them, and how each is inferred."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from .base import Config, Stage
from .run import LensConfig, RunConfig


class SystemsConfig(Stage):
    """The systems: by default in the set-up of arXiv:2511.04792, made by the operator that infers."""

    sources: str = Field(
        default="prior",
        description="prior: draws of the prior that infers, for which a right posterior is calibrated; else images as "
        "`train --data` takes them (procedural:N:SEED, a folder, a file)",
    )
    brightness: float = Field(
        default=1.0, gt=0, description="factor on surface brightness: other than 1, no draws of the prior"
    )
    source_pixels: int = Field(default=64, ge=8, description="a side")
    pixels: int = Field(default=64, ge=8, description="of the image, a side")
    pixel_scale: float = Field(default=12 / 64, gt=0, description="arcsec")
    source_fov: float = Field(default=6.24, gt=0, description="arcsec")
    psf_fwhm: float = Field(default=0.375, gt=0, description="arcsec, Gaussian")
    noise: float = Field(default=0.35, gt=0, description="in the unit of surface brightness")
    lens: LensConfig | None = Field(default=None, description="the mass that makes the images; null: the one inferred")
    rays: int | None = Field(default=None, ge=1, description="a pixel and side; null: the operator that infers")
    psf_error: float = Field(default=1.0, gt=0, description="the width that is assumed of the PSF over the true one")
    noise_error: float = Field(default=1.0, gt=0, description="the noise that is assumed over the true one")


class CoverageConfig(Config):
    """One run of `coverage`."""

    preset_folder: ClassVar[str] = "coverage"

    systems: SystemsConfig = SystemsConfig()
    run: RunConfig = Field(default=RunConfig(), description="of each system; its seed is the study's")
    components: int = Field(default=5, ge=0, description="principal components of the source that are ranked")

    @model_validator(mode="after")
    def _together(self) -> Self:
        run = self.run
        if run.source_fov is not None or run.flux_scale not in ("infer", 1.0):
            raise ValueError("run: the study knows the source's field and brightness; leave source_fov, flux_scale out")
        if self.systems.lens is not None and not set(self.run.lens.mass) <= set(self.systems.lens.mass):
            raise ValueError(
                "systems.lens: its mass needs all components of run.lens.mass, so that truths can be ranked"
            )
        if "wide" in (run.lens.priors, self.systems.lens and self.systems.lens.priors):
            raise ValueError("lenses of a study are drawn from the paper's ranges; leave priors: wide out, give ranges")
        light = run.lens_light not in ("auto", "none")
        if run.lens_params is not None or light or run.bin > 1 or run.initialise.file is not None:
            raise ValueError("run: go without lens_params, lens_light, bin and a file to start from")
        return self
