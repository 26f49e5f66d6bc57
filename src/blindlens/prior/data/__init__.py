"""Training images for a score prior: one interface, several sources. `open_images(source)` returns Images."""

from .augmentation import Augmentation, augment, augment_set
from .images import Images
from .mixture import Mixture
from .normalisation import Normalisation, largest_distance, normalisation
from .prepared import prepared
from .sources import open_images
from .splitting import split

__all__ = [
    "Augmentation",
    "Images",
    "Mixture",
    "Normalisation",
    "augment",
    "augment_set",
    "largest_distance",
    "normalisation",
    "open_images",
    "prepared",
    "split",
]
