"""The lens model that a posterior's draws belong to."""

from ..errors import BlindlensError
from ..posterior import Posterior
from .mass import LensModel


def lens_of(posterior: Posterior) -> LensModel:
    """The mass of the run, its ranges widened to hold all draws of q and t, which set the terms of the series.

    Raises BlindlensError for one that the configuration does not describe, such as an object given in Python.
    """
    attrs, draws = posterior.attrs, posterior.lens
    own = attrs["config"].get("lens", {})
    ranges = dict(own.get("ranges", {}))
    for name, ends in (("q", (0.6, 1.0)), ("t", (0.8, 1.2))):
        if name in draws:
            low, high = ranges.get(name, ends)
            least, most = float(draws[name].min()), float(draws[name].max())
            ranges[name] = (min(low, 0.95 * least), max(high, most))
    redshifts = {key: own.get(key) or attrs["config"].get("physics", {}).get(key) for key in ("z_lens", "z_source")}
    model = LensModel(tuple(attrs["mass"]), ranges, **redshifts)
    if missing := [name for name in model.space.names if name not in draws]:
        raise BlindlensError(f"the posterior has no draws of {missing[0]}, which its mass needs")
    return model
