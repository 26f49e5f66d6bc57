"""The commands about priors: train one, draw from it, check it, show what it is, import one from elsewhere."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import App, Parameter
from rich.console import Console

from .devices import prepare_jax
from .errors import BlindlensError, Interrupted
from .progress import Progress
from .storage import atomic_write, write_text

prior_app = App(name="prior", help="Draw from a prior, check it, show what it is, or import one.")


def train(
    *,
    data: Annotated[list[str] | None, Parameter(consume_multiple=False)] = None,
    network: Literal["compact", "ncsnpp"] | None = None,
    preset: str = "compact",
    name: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    devices: int | None = None,
    out: Path,
) -> None:
    """Train a score prior by denoising; the same command goes on with an unfinished run.

    Parameters
    ----------
    data
        procedural:N:SEED, a folder of SKIRT-TNG, FITS or picture files, or a .npy, .npz, .h5 or .zarr file; may be
        given several times. Shares, units and augmentation: in the preset's file.
    network
        compact, for CPUs, or ncsnpp, the paper's.
    preset
        A YAML file, or a preset: compact, galaxy64-first, galaxy64, ncsnpp64, paper.
    name
        Of the prior.
    steps
        Of the optimiser.
    seed
        Of all random numbers.
    devices
        How many of this machine's devices share a batch; by default all.
    out
        Folder of the checkpoint, the prior and the losses.
    """
    prepare_jax()
    from .prior.training import TrainConfig
    from .prior.training import train as run
    from .report.prior_plots import losses_figure

    config = TrainConfig.load(preset)
    given: dict[str, Any] = {"network": network, "name": name, "steps": steps, "seed": seed}
    if data:
        given["data"] = config.data.model_copy(update={"sources": tuple(data)}).model_dump()
    config = config.replace(**{key: value for key, value in given.items() if value is not None})
    try:
        run(config, out, Progress(Console(stderr=True)), devices)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: what is done is kept in {out}; the same command goes on") from None
    finally:
        if (out / "losses.csv").exists():
            with atomic_write(out / "losses.png") as temporary:
                losses_figure((out / "losses.csv").read_text().splitlines()).savefig(temporary, dpi=120)


@prior_app.command
def sample(name: str, *, n: Annotated[int, Parameter(name="--n")] = 16, seed: int = 0, out: Path) -> None:
    """Draw images from a prior: samples.fits (a cube, surface brightness), and samples.png beside procedural galaxies.

    Parameters
    ----------
    name
        A prior's name in the package, or a path.
    n
        Number of images.
    seed
        Of all random numbers.
    out
        Folder of the results.
    """
    prepare_jax()
    import jax
    from astropy.io import fits

    from .check.prior_quality import draw
    from .prior import load_prior
    from .prior.galaxies import galaxies
    from .report.prior_plots import contact_sheet

    if n < 1:
        raise BlindlensError(f"--n must be at least 1, not {n}")
    prior = load_prior(name)
    x = draw(prior, jax.random.key(seed), n, progress=Progress(Console(stderr=True)))
    header = fits.Header({"PRIOR": prior.name, "SEED": seed})
    with atomic_write(out / "samples.fits") as temporary:
        fits.PrimaryHDU((prior.scale * x + prior.offset).astype(np.float32), header).writeto(temporary)
    with atomic_write(out / "samples.png") as temporary:
        real = (galaxies(seed, n, prior.n) - prior.offset) / prior.scale
        side = math.isqrt(n - 1) + 1
        contact_sheet(x, real, prior.scale, prior.offset, side, side).savefig(temporary, dpi=150)


@prior_app.command
def check(
    name: str,
    *,
    data: str | None = None,
    factor: float = 1.0,
    against: list[str] | None = None,
    size: Literal["paper", "small"] = "small",
    samples: int | None = None,
    seed: int = 0,
    out: Path,
) -> None:
    """Check a prior against images: PQMass, power, brightness, structure, memorisation, denoising.

    Parameters
    ----------
    name
        A prior's name in the package, or a path.
    data
        Images, as for `train`: those that the prior's own training kept back are held against the rest; of a prior that
        does not say, as many as `size` needs. By default what the prior was trained on, turned, zoomed and dimmed as in
        training: sources that its header names by a relative path are looked for in this folder.
    factor
        On the images' brightness, to bring them to the prior's unit.
    against
        Other priors whose denoising error is set beside.
    size
        paper: 4000 draws, 100 regions, 2000 re-tessellations; small: a tenth.
    samples
        Draws, in place of the size's own number.
    seed
        Of all random numbers.
    out
        Folder of check.json, check.md and pictures.
    """
    prepare_jax()
    import jax

    from .check.prior_quality import PAPER, SMALL, PriorCheckConfig, check_prior, draw
    from .prior import load_prior
    from .prior.checkpoint import load_arrays, locate
    from .prior.data import Augmentation, augment_set, open_images, prepared, split
    from .prior.training import DataConfig, open_data
    from .report.prior_plots import appearance_figure, contact_sheet, denoising_figure
    from .report.prior_words import prior_words

    prior, config = load_prior(name), {"paper": PAPER, "small": SMALL}[size]
    if samples is not None:
        config = PriorCheckConfig.from_mapping({**config.model_dump(), "samples": samples}, "the command line")
    trained = load_arrays(locate(name))[1].get("about", {}).get("train")
    progress = Progress(Console(stderr=True))
    augmentation = Augmentation(rotation="none", flips=False)
    if data is None and trained is not None:
        mixed = DataConfig.from_mapping(trained["data"], f"the header of {name}")
        try:
            images, augmentation = open_data(mixed, out / "images", progress), mixed.augmentation
        except BlindlensError as error:
            raise BlindlensError(f"{error}; give --data, or run where {name}'s own training data are") from None
    else:
        images = prepared(open_images(data or "procedural:20000:2", prior.n), out / "images", progress)
    if trained is None:
        share, split_seed = min(0.5, 1.1 * config.samples / len(images)), seed
    else:
        share, split_seed = trained["data"]["validation"], trained["seed"]
    key, turn = jax.random.split(jax.random.key(seed))
    parts = split(images, share, split_seed)
    training, unseen = (
        (augment_set(k, images.read(numbers) * factor, augmentation) - prior.offset) / prior.scale
        for k, numbers in zip(jax.random.split(turn), parts, strict=True)
    )
    galaxies = (images.groups()[parts[1]], images.groups()[parts[0]])
    drawn = draw(prior, key, config.samples, config.batch, progress)
    others = {other.name: other for other in map(load_prior, against or ())}
    result = check_prior(prior, unseen, training, key, config, others, drawn, galaxies, progress)
    write_text(out / "check.json", json.dumps(result, indent=2) + "\n")
    write_text(out / "check.md", prior_words(result) + "\n")
    sheet = contact_sheet(drawn, unseen, prior.scale, prior.offset)
    for file, figure in (
        ("sheet.png", sheet),
        ("appearance.png", appearance_figure(result)),
        ("denoising.png", denoising_figure(result["denoising"])),
    ):
        with atomic_write(out / file) as temporary:
            figure.savefig(temporary, dpi=150)
    print(prior_words(result))


@prior_app.command
def card(name: str) -> None:
    """Show what a prior's file says of itself: network, units, data, training.

    Parameters
    ----------
    name
        A prior's name in the package, or a path.
    """
    import yaml

    from .prior.checkpoint import load_arrays, locate

    arrays, header = load_arrays(locate(name))
    count = sum(array.size for array in arrays.values())
    print(yaml.safe_dump({**header, "numbers": count}, sort_keys=False, allow_unicode=True), end="")


@prior_app.command(name="import")
def import_(
    checkpoint: Path,
    *,
    n: Annotated[int, Parameter(name="--n")] = 64,
    scale: float,
    offset: float,
    out: Path,
) -> None:
    """Import a network trained with score_models (needs PyTorch) as a prior.

    Parameters
    ----------
    checkpoint
        The folder with model_hparams.json, or one of its .pt files.
    n
        Pixels a side of the images it was trained on.
    scale
        C of s = C x + M, the surface brightness of x = 1.
    offset
        M.
    out
        The prior's file, .safetensors; its stem becomes the prior's name.
    """
    from .prior import ScorePrior
    from .prior.import_score_models import import_score_models
    from .prior.score import Span

    network, facts = import_score_models(checkpoint)
    span = Span(1.0, facts["sigma_min"], facts["sigma_max"])  # "ve" does not depend on the pixels' sd
    ScorePrior(network, span, "ve", scale, offset, n, out.stem).save(out, {"imported": str(facts["checkpoint"])})
