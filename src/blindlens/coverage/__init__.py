"""A study of coverage: many simulated systems, a posterior of each, and where the truths lie in them."""

from .study import coverage
from .systems import Setting, setting, system

__all__ = ["Setting", "coverage", "setting", "system"]
