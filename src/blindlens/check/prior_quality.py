"""All checks of a prior against images it was not trained on, as one JSON-able dict."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax import Array
from pydantic import Field

from ..config import Stage
from ..errors import BlindlensError
from ..prior.denoiser import Denoiser
from ..progress import Progress
from .appearance import brightness_shares, power_ratio, structure_ratio
from .denoising import denoising_table
from .memorisation import memorisation
from .pqmass import one_each, pqmass
from .stacks import image_stack


class PriorCheckConfig(Stage):
    """How much of each check; the defaults are PQMass as in arXiv:2511.04792."""

    samples: int = Field(default=4000, ge=100, description="draws from the prior, and images of either set at the most")
    batch: int = Field(default=16, ge=1, description="images at a time through the network; draws depend on it")
    regions: int = Field(default=100, ge=2, description="Voronoi cells of PQMass")
    tessellations: int = Field(default=2000, ge=1, description="of PQMass")
    permutations: int = Field(default=200, ge=0, description="of the labels, for the p-value of PQMass")
    sigmas: tuple[float, ...] = Field(default=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), min_length=1)
    denoised: int = Field(default=1000, ge=2, description="held-out images denoised per sigma")
    probes: int = Field(default=1, ge=1, description="random vectors of Hutchinson's trace")
    structured: int = Field(default=1000, ge=2, description="images of either set whose structure is measured")
    neighbours: int = Field(default=1000, ge=100, description="images of either set whose neighbours are looked for")
    quantile: float = Field(default=0.01, gt=0, lt=1, description="of the unseen images' nearest distances")
    turns: bool = Field(default=True, description="neighbours among all turns and reflections of the training images")


PAPER = PriorCheckConfig()
SMALL = PriorCheckConfig(
    samples=400,
    regions=20,
    tessellations=200,
    sigmas=(0.01, 0.1, 1.0, 10.0),
    denoised=64,
    structured=200,
    neighbours=400,
)


def check_prior(
    prior: Denoiser,
    held_out: Any,
    training: Any,
    key: Array,
    config: PriorCheckConfig = PAPER,
    others: Mapping[str, Denoiser] | None = None,
    samples: Any = None,
    galaxies: tuple[Any, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Every check on one prior; the functions that are called say what each number means.

    held_out, training: images (k, n, n) in the prior's model units. others: further denoisers by name, set beside the
    prior's in `denoising`. samples: draws from the prior made elsewhere; else `draw(prior, ...)` makes
    `config.samples` from the key. galaxies: names, for the images of held_out and of training, of what they show:
    PQMass then takes no galaxy twice (`one_each`). Which images of either set are used depends on the key alone.

    Returns a dict of `prior`, `config`, `images` (sizes), `pqmass` (samples against `held_out` and `training`, and
    `real`: held-out against training images, what no prior can be expected to beat), `power`, `brightness`,
    `structure`, `memorisation` and `denoising`. json.dumps takes it (numbers that do not exist are None).

    Raises BlindlensError for stacks of another shape, that are too small for the config, or that are not finite.
    """
    progress = progress or Progress()
    held_out, training = (image_stack(v, w, prior.n, 100) for v, w in ((held_out, "held_out"), (training, "training")))
    draw_key, pick_key, noise_key = jax.random.split(key, 3)
    if samples is None:
        samples = draw(prior, draw_key, config.samples, config.batch, progress)
    samples = image_stack(samples, f"samples of {prior.name}", prior.n, 100)
    names = [prior.name, *(others or {})]
    if len(set(names)) < len(names):
        raise BlindlensError(f"denoisers need different names, not {', '.join(names)}")

    seeds = np.random.SeedSequence([int(word) for word in jax.random.bits(pick_key, (4,))]).spawn(6)
    rng = np.random.default_rng(seeds[0])
    names_of = galaxies or tuple(np.arange(len(images)) for images in (held_out, training))
    sets = zip((held_out, training), names_of, strict=True)
    apart, some = (images[rng.permutation(one_each(names, rng))[: config.samples]] for images, names in sets)
    ours, theirs = samples[: config.samples], held_out[rng.permutation(len(held_out))[: config.samples]]

    masses = {}
    pairs = {"held_out": (ours, apart), "training": (ours, some), "real": (apart, some)}
    with progress.stage("pqmass", len(pairs) * config.tessellations) as bar:
        for (name, (x, y)), seed in zip(pairs.items(), seeds[1:4], strict=True):
            masses[name] = pqmass(x, y, seed, config.regions, config.tessellations, config.permutations, bar.advance)
    with progress.stage("appearance", 3) as bar:
        power = power_ratio(ours, theirs, seeds[4])
        bar.advance()
        brightness = brightness_shares(ours, theirs)
        bar.advance()
        built = structure_ratio(
            ours[: config.structured], theirs[: config.structured], prior.scale, prior.offset, seeds[5]
        )
        bar.advance()
    with progress.stage("memorisation", 2 * len(training)) as bar:
        near = memorisation(
            ours[: config.neighbours], theirs[: config.neighbours], training, config.quantile, config.turns, bar.advance
        )
    denoisers = {prior.name: prior, **(others or {})}
    noisy = theirs[: config.denoised]
    with progress.stage("denoising", len(denoisers) * len(config.sigmas) * len(noisy)) as bar:
        table = denoising_table(denoisers, noisy, config.sigmas, noise_key, config.probes, config.batch, bar.advance)
    return _plain(
        {
            "prior": prior.name,
            "config": config.model_dump(mode="json"),
            "images": {"n": prior.n, "samples": len(ours), "held_out": len(theirs), "training": len(training)},
            "pqmass": masses,
            "power": power,
            "brightness": brightness,
            "structure": built,
            "memorisation": near,
            "denoising": table,
        }
    )


def draw(prior: Denoiser, key: Array, count: int, batch: int = 16, progress: Progress | None = None) -> np.ndarray:
    """Draws from the prior, (count, n, n) in model units, `batch` at a time; those of a longer call begin the same."""
    parts = []
    with (progress or Progress()).stage("prior draws", count) as bar:
        for start in range(0, count, batch):
            parts.append(np.asarray(_draw(prior, jax.random.fold_in(key, start), batch)))
            bar.advance(min(batch, count - start))
    return np.concatenate(parts)[:count]


@eqx.filter_jit
def _draw(prior: Denoiser, key: Array, batch: int) -> Array:
    return prior.sample(key, (batch,))


def _plain(value: Any) -> Any:
    """With None for numbers that JSON doesn't have."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
