"""Other methods for an unknown operator, from their papers: to compare with, not to use. No posterior is claimed."""

from .run import METHODS, sample

__all__ = ["METHODS", "sample"]
