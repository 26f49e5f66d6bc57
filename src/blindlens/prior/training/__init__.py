"""Training of score priors. `train(config, out)` is the whole of it."""

from .config import TrainConfig
from .loop import train

__all__ = ["TrainConfig", "train"]
