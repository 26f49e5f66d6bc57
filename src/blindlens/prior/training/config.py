"""Every number a training run depends on."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from ...config import Config, Stage
from ..data import Augmentation


class DataConfig(Stage):
    """Sets of images: what `open_images` understands, and how much of each."""

    sources: tuple[str, ...] = Field(default=("procedural",), min_length=1)
    shares: tuple[float, ...] | None = Field(default=None, description="of each source; null: by size")
    factors: tuple[float, ...] | Literal["match"] | None = Field(default=None, description="on each one's brightness")
    unit: str | None = Field(default=None, description="of sources that do not say it")
    n: int = Field(default=64, ge=8, description="pixels a side")
    validation: float = Field(default=0.07, gt=0, lt=1, description="share of the galaxies kept back")
    scale: float | None = Field(default=None, gt=0, description="C of s = C x + M; null: computed")
    offset: float | None = Field(default=None, description="M; null: computed")
    augmentation: Augmentation = Augmentation()


class TrainConfig(Config):
    """One run of `train`."""

    preset_folder: ClassVar[str] = "train"

    name: str = Field(default="my-prior", min_length=1)
    network: Literal["compact", "ncsnpp"] = "compact"
    network_config: dict[str, Any] = Field(default_factory=dict, description="what departs from its defaults")
    start: str | None = Field(default=None, description="a prior whose weights and units the run begins with")
    data: DataConfig = DataConfig()
    sigma_min: float = Field(default=0.001, gt=0)
    sigma_max: float | None = Field(default=None, gt=0, description="null: 95th percentile of pair distances")
    noise: Literal["log-uniform", "middle"] = Field(
        default="middle", description="noise levels trained on; middle: half of them log-normal round 0.6 sd"
    )
    steps: int = Field(default=230_000, ge=1)
    batch: int = Field(default=64, ge=1)
    rate: float = Field(default=1e-3, gt=0, description="of Adam, after the warm-up")
    warmup: int = Field(default=500, ge=0, description="steps over which the rate rises")
    decay: bool = Field(default=True, description="the rate falls as a cosine to a hundredth at the last step")
    clip: float = Field(default=1.0, gt=0, description="norm of the gradient at the most")
    ema: tuple[float, ...] = Field(default=(0.999, 0.9998), min_length=1, description="decays of the averages kept")
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: int = Field(default=1000, ge=1)
    validation_images: int = Field(default=256, ge=8)
    save_every: int = Field(default=500, ge=1, description="steps between two checkpoints")
    seed: int = Field(default=0, ge=0)
