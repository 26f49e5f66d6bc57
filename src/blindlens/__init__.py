"""blindlens: joint posteriors of the source galaxy and the lens mass, from one image of a strong lens."""

__version__ = "0.1.0"
