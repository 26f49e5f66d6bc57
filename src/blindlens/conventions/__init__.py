"""The lens's mass in the parameters of other programs, and back. docs/conventions.md has the equations side by side.

Every function takes or gives a dict of blindlens's parameters; values are numbers or arrays of draws. The other
program's side is a list of profile names and one of keyword arguments, in that program's own names.
"""

from .coolest import from_coolest, to_coolest
from .lenstronomy import from_lenstronomy, to_lenstronomy
from .pyautolens import from_pyautolens, to_pyautolens

__all__ = ["from_coolest", "from_lenstronomy", "from_pyautolens", "to_coolest", "to_lenstronomy", "to_pyautolens"]
