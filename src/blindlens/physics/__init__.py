"""A posterior in the field's terms: angles on the sky, kpc, solar masses, km/s, magnification, magnitudes."""

from .table import derived, settings

__all__ = ["derived", "settings"]
