"""What is kept of each system, and the figures over all."""

from typing import Any

import numpy as np

from ..check import coverage as checks
from ..check.convergence import r_hat
from ..lens.simulate import System
from ..posterior import Posterior
from .places import coordinates, normal, summaries, vectors
from .systems import FEWEST, Setting

CONTROLS = {"draws 0.65 times as wide": 0.65, "draws 1.5 times as wide": 1.5}
"""What ranks and TARP must reject: the draws moved towards their mean, or away from it. (Mira is blind for the second.)
"""
DOMAIN = 230203026


class Tally:
    """What is kept of each system: places of its truth among its draws and among the controls', and a few figures."""

    def __init__(self, study: Setting):
        self.study = study
        self.names = {"lens": coordinates(study.lens.space), "source": summaries(study.config.components)}
        self.places: dict[str, dict[str, list[checks.Place]]] = {
            what: {group: [] for group in (*self.names, "both")} for what in ("draws", *CONTROLS)
        }
        self.worth: list[float] = []
        self.r_hat: list[float] = []
        self.chi2: list[float] = []
        self.widths: list[np.ndarray] = []
        self.seconds: list[float] = []
        self.peaks: list[float] = []

    def add(self, made: System, posterior: Posterior) -> None:
        """One more system."""
        # a domain of its own: galaxy k of procedural:N:SEED is made of default_rng((SEED, k))
        number = int(made.observation.name.removeprefix("system"))
        rng = np.random.default_rng([self.study.config.run.seed, number, DOMAIN])
        mine = vectors(self.study, made, posterior, rng)
        for what, groups in self.places.items():
            for group, places in groups.items():
                changed = mine[group].widened(CONTROLS[what]) if what in CONTROLS else mine[group]
                places.append(checks.place(changed.truth, changed.aside, changed.draws, rng))
        self.worth.append(mine["both"].worth)
        space = self.study.lens.space
        eta = normal(space, {name: posterior.lens[name].values for name in space.names})
        self.r_hat.append(float(np.max([r_hat(eta[..., i]) for i in range(eta.shape[-1])])))
        self.chi2.append(float(posterior.tree["sample_stats"]["chi2_per_pixel"].mean()))
        self.widths.append(eta.reshape(-1, eta.shape[-1]).std(0))
        self.seconds.append(sum(posterior.attrs["times"].values()))
        self.peaks.append(float(made.noiseless.max()) / self.study.config.systems.noise)

    def figures(self) -> dict[str, Any]:
        """Over all systems; by group of the draws and of each control."""
        widths, greatest = np.median(self.widths, 0).tolist(), float(np.max(self.r_hat))
        general = {
            "systems": len(self.chi2),
            "r_hat below 1.05": int(np.sum(np.array(self.r_hat) < 1.05)),
            "greatest r_hat": greatest if np.isfinite(greatest) else None,
            "worth fewer draws than are ranked": int(np.sum(np.array(self.worth) < FEWEST)),
            "chi2_per_pixel": float(np.mean(self.chi2)),
            "seconds": float(np.median(self.seconds)),
            "lenses an hour": float(3600 / np.mean(self.seconds)),
            "peak S/N": dict(
                zip(("least", "median", "greatest"), np.quantile(self.peaks, (0, 0.5, 1)).tolist(), strict=True)
            ),
            "median width": dict(zip(self.names["lens"], widths, strict=True)),
        }
        return general | {
            what: {group: judgement(places, self.names.get(group)) for group, places in groups.items()}
            for what, groups in self.places.items()
        }

    def uniform(self) -> dict[str, np.ndarray]:
        """The numbers (K,) that are uniform if the posteriors are right, by name."""
        numbers = {f"{group} TARP": np.array([p.tarp for p in found]) for group, found in self.places["draws"].items()}
        for group, names in self.names.items():
            numbers |= {
                name: np.array([p.ranks[i] for p in self.places["draws"][group]]) for i, name in enumerate(names)
            }
        return numbers


def judgement(places: list[checks.Place], names: list[str] | None) -> dict[str, Any]:
    """TARP, Mira, and with names the ranks of each coordinate."""
    tarp = checks.judge(np.array([p.tarp for p in places]))
    draws = np.array([p.draws for p in places])
    score, expected, error = checks.mira(np.array([p.mira for p in places]), draws)
    figures: dict[str, Any] = {
        "draws ranked": float(np.median(draws)),
        "TARP p": tarp.p,
        "TARP inside the 95 % band": tarp.inside,
        "Mira": {"score": score, "expected": expected, "standard error": error},
    }
    if names is not None:
        ranks = np.array([p.ranks for p in places]).T
        figures["ranks"] = {
            name: {"p": checks.smooth_p(u), "in 68 %": checks.central(u, 0.68), "in 95 %": checks.central(u, 0.95)}
            for name, u in zip(names, ranks, strict=True)
        }
        figures["ranks, least p"] = min(one["p"] for one in figures["ranks"].values())
        figures["ranks rejected at 1 %"] = figures["ranks, least p"] < 0.01 / len(names)
    return figures
