"""Which images train and which validate: decided galaxy by galaxy, once and for all."""

import hashlib

import numpy as np

from ...errors import BlindlensError
from .images import Images


def split(images: Images, validation: float = 0.07, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images for training and for validation, both sorted.

    A group (`Images.groups`) validates if a hash of its name and the seed, uniform in [0, 1), lies below `validation`:
    images that are added later, or to a mixture, move nobody else to the other side. The share is met on average
    only. BlindlensError if validation is not in [0, 1), or if a side that should hold images is empty.
    """
    if not 0 <= validation < 1:
        raise BlindlensError(f"the share of images kept for validation must be in [0, 1), not {validation}")
    names, index = np.unique(images.groups(), return_inverse=True)
    kept_back = np.array([_uniform(f"{seed}/{name}") < validation for name in names], bool)[index]
    train, validate = np.flatnonzero(~kept_back), np.flatnonzero(kept_back)
    if not train.size or (validation > 0 and not validate.size):
        side = "validation" if train.size else "training"
        raise BlindlensError(
            f"{images.name} leaves no image for {side} ({len(images)} images of {len(names)} different galaxies, "
            f"validation {validation}): add images, or change that share or the seed"
        )
    return train, validate


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
