"""What turns a posterior in arcsec and data units into kpc, solar masses, magnitudes and angles on the sky."""

from typing import Self

from pydantic import Field, model_validator

from ..cosmology import named
from .base import Stage


class PhysicsConfig(Stage):
    """Known of the system beside its image; it changes no draw, and can be given after the run (`blindlens derive`)."""

    z_lens: float | None = Field(default=None, gt=0, description="redshift of the lens")
    z_source: float | None = Field(default=None, gt=0, description="redshift of the source")
    cosmology: str = Field(default="Planck18", description="a name in astropy.cosmology")
    zero_point: float | None = Field(default=None, description="AB magnitude of one data unit")
    north_up: bool = Field(default=False, description="north is up and east left in an image without WCS")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.z_lens is not None and self.z_source is not None and self.z_lens >= self.z_source:
            raise ValueError(f"the source must lie behind the lens, not at {self.z_source:g} before {self.z_lens:g}")
        if self.cosmology != "Planck18":
            named(self.cosmology)
        return self
