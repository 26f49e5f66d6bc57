"""Networks for score priors, by name: {name: (network, its configuration, how a denoiser is made of it)}."""

from .compact import Compact, CompactConfig
from .ncsnpp import NCSNpp, NCSNppConfig

NETWORKS = {"compact": (Compact, CompactConfig, "edm"), "ncsnpp": (NCSNpp, NCSNppConfig, "ve")}

__all__ = ["NETWORKS", "Compact", "CompactConfig", "NCSNpp", "NCSNppConfig"]
