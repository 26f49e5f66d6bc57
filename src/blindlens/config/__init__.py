"""Every number a run depends on: one frozen model per stage, to and from YAML, with named presets."""

from .base import Config, Stage
from .baselines import BirdConfig, BlindDPSConfig, FastEMConfig
from .coverage import CoverageConfig, SystemsConfig
from .joint import CompareConfig, EvidenceConfig, LatentConfig, RenoiseConfig, SplitGibbsConfig
from .paper import GibbsDDRMConfig, GuidanceConfig, RefineConfig, SourceConfig
from .run import LensConfig, LensLightName, Method, RunConfig, presets
from .start import InitialiseConfig, SersicConfig

__all__ = [
    "BirdConfig",
    "BlindDPSConfig",
    "CompareConfig",
    "Config",
    "CoverageConfig",
    "EvidenceConfig",
    "FastEMConfig",
    "GibbsDDRMConfig",
    "GuidanceConfig",
    "InitialiseConfig",
    "LensConfig",
    "LensLightName",
    "Method",
    "RefineConfig",
    "LatentConfig",
    "RenoiseConfig",
    "RunConfig",
    "SersicConfig",
    "SourceConfig",
    "SplitGibbsConfig",
    "Stage",
    "SystemsConfig",
    "presets",
]
