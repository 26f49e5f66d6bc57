"""What every check of images starts with: a stack of finite square images."""

from typing import Any

import numpy as np

from ..errors import BlindlensError


def image_stack(images: Any, what: str, n: int | None = None, least: int = 1) -> np.ndarray:
    """`images` as an array (k, n, n), k >= least. BlindlensError, naming them as `what`, for anything else."""
    images = np.asarray(images)
    side = images.shape[-1] if n is None and images.ndim == 3 else n
    if images.ndim != 3 or images.shape[1:] != (side, side):
        wanted = "n x n" if n is None else f"{n} x {n}"
        raise BlindlensError(f"{what}: a stack (k, n, n) of images of {wanted} pixels is needed, not {images.shape}")
    if len(images) < least:
        raise BlindlensError(f"{what}: at least {least} images are needed, not {len(images)}")
    bad = len(images) - int(sum(np.isfinite(image).all() for image in images))
    if bad:
        raise BlindlensError(f"{what}: {bad} of {len(images)} images have pixels that are not finite; remove them")
    return images
