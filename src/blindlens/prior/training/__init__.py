"""Training of score priors. `train(config, out)` is the whole of it."""

from .config import DataConfig, TrainConfig
from .loop import open_data, train

__all__ = ["DataConfig", "TrainConfig", "open_data", "train"]
