"""Every number a run depends on: one frozen model per stage, to and from YAML, with named presets."""

from .base import Config, Stage
from .baselines import BirdConfig, BlindDPSConfig, FastEMConfig
from .joint import EvidenceConfig, RenoiseConfig, SplitGibbsConfig
from .paper import GibbsDDRMConfig, GuidanceConfig, RefineConfig, SourceConfig
from .run import LensConfig, RunConfig, presets
from .start import InitialiseConfig, SersicConfig

__all__ = [
    "BirdConfig",
    "BlindDPSConfig",
    "Config",
    "EvidenceConfig",
    "FastEMConfig",
    "GibbsDDRMConfig",
    "GuidanceConfig",
    "InitialiseConfig",
    "LensConfig",
    "RefineConfig",
    "RenoiseConfig",
    "RunConfig",
    "SersicConfig",
    "SourceConfig",
    "SplitGibbsConfig",
    "Stage",
    "presets",
]
