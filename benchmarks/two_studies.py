"""Two studies of coverage of the same systems, by two methods or two versions: do their posteriors of the lens agree?

python benchmarks/two_studies.py FIRST SECOND

Over the systems that both folders have, by lens coordinate: mean over systems of the difference of the two means in
standard deviations of the first, median ratio of widths (first over second), and effective draws of the median system.
"""

import argparse
from pathlib import Path

import numpy as np

from blindlens.check.convergence import ess
from blindlens.config import CoverageConfig
from blindlens.coverage.places import coordinates, normal
from blindlens.lens.mass import LensModel
from blindlens.posterior import Posterior


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    given = parser.parse_args()
    run = CoverageConfig.load(given.first / "config.yaml").run
    lens = run.lens.model_copy(update={"priors": "paper"})
    space = LensModel(**lens.arguments()).space

    def draws(file: Path) -> np.ndarray:
        """Normal coordinates, (chain, draw, d)."""
        posterior = Posterior.load(file)
        return np.asarray(normal(space, {name: posterior.lens[name].values for name in space.names}))

    rows = []
    for file in sorted(given.first.glob("system*/posterior.nc")):
        other = given.second / file.parent.name / file.name
        if other.is_file():
            both = [draws(file), draws(other)]
            means, widths = ([f(e.reshape(-1, space.size), 0) for e in both] for f in (np.mean, np.std))
            worth = [[ess(e[..., i]) for i in range(space.size)] for e in both]
            rows.append(((means[0] - means[1]) / widths[0], widths[0] / widths[1], *worth))
    shifts, ratios, *worth = map(np.array, zip(*rows, strict=True))
    told = [shifts.mean(0), np.median(ratios, 0), *(np.median(each, 0) for each in worth)]
    print(f"{len(rows)} systems{'':9}difference   widths   effective draws of the first, of the second")
    for name, *values in zip(coordinates(space), *told, strict=True):
        print("{:20}{:11.2f}{:9.2f}{:18.0f}{:15.0f}".format(name, *values))


if __name__ == "__main__":
    main()
