"""The images that a run trains on: their data set and augmentations."""

from __future__ import annotations

from dataclasses import dataclass

from engine import settings
from engine.errors import ConfigError
from engine.settings import Role, When, setting

FITS = {"crop": "Crop the center", "pad": "Pad with black"}  # title of each choice
MAX_IMAGES = 10_000_000


@dataclass(frozen=True)
class DataConfig:
    """The data set that the network is trained and evaluated on."""

    dataset: str = setting(
        "cifar10",
        "--dataset",
        "Data set",
        "cifar10, cifar100, shapes, or the path of a folder or zip with class folders",
        role=Role.VALIDATION,
    )
    root: str = setting(
        "data",
        "--data-root",
        "Data folder",
        "folder for archives, downloads and decoded images",
        role=Role.PLACE,
        movable=True,
    )
    url: str | None = setting(
        None,
        "--data-url",
        "Mirror (on Home)",
        "mirror of the archive, accepted only if its MD5 matches",
        none="the official server",
        role=Role.PLACE,
        movable=True,
    )
    fit: str = setting(
        "crop",
        "--fit",
        "If not square",
        "how images that are not square are fitted before they are resized to 32×32: crop keeps "
        "the central square, pad keeps the whole image and pads it with black",
        choices=FITS,
        titles=FITS,
    )
    holdout: int = setting(
        0,
        "--holdout",
        "Held-out training images",
        "training images kept for validation; the test set is then measured once, after the last "
        "epoch; 0: validate on the test set, as the study did; the best epoch is then selected on "
        "test data, and every figure says so",
        usual="0, or a tenth of the training images",
        unit="images",
        low=0,
        high=MAX_IMAGES,
        step=500,
        role=Role.VALIDATION,
    )
    limit: int | None = setting(
        *(None, "--limit", "Limit on training images"),
        "train on a random subset of this many images, drawn with the seed",
        usual="all; 1000 to 5000 for a quick try",
        unit="images",
        none="all",
        low=1,
        high=MAX_IMAGES,
        step=1000,
    )
    stratified: bool = setting(
        *(False, None, "Stratified"),
        "held-out and limited images are sampled class by class; runs of older versions: from all",
        role=Role.VALIDATION,
    )

    def __post_init__(self):
        settings.check(self, "data.")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ConfigError("data.url", "give an address that starts with http:// or https://")


@dataclass(frozen=True)
class AugmentConfig:
    """The augmentations in use, in the order in which they are applied."""

    crop: bool = setting(True, "--no-crop", "Random crop", "random 32×32 crop of the padded image")
    crop_padding: int = setting(
        4,
        "--crop-padding",
        "Crop padding",
        "padding on each side: the largest shift of the random crop",
        usual="2 to 4",
        unit="pixels",
        low=1,
        high=16,
        step=1,
        when=When("augment.crop", (True,)),
    )
    crop_reflect: bool = setting(
        False,
        "--crop-reflect",
        "Reflect at the edge",
        "pad by reflection instead of black",
        when=When("augment.crop", (True,)),
    )
    flip: bool = setting(True, "--no-flip", "Flip", "random horizontal flip")
    flip_p: float = setting(
        0.5,
        "--flip-p",
        "Flip probability",
        "probability that an image is flipped",
        usual="0.5",
        low=0,
        high=1,
        step=0.05,
        when=When("augment.flip", (True,)),
    )
    alternating_flip: bool = setting(
        False,
        "--alternating-flip",
        "Alternating flip",
        "flip at random in the first epoch; then flip each image in every other epoch",
        when=When("augment.flip", (True,)),
        strict=True,
    )
    erasing: bool = setting(False, "--erase-aug", "Random erasing", "random erasing of a rectangle")
    erase_p: float = setting(
        0.5,
        "--erase-p",
        "Erasing probability",
        "probability that a rectangle of an image is erased",
        usual="0.25 to 0.5",
        low=0,
        high=1,
        step=0.05,
        when=When("augment.erasing", (True,)),
    )
    erase_area_min: float = setting(
        0.02,
        "--erase-area-min",
        "Smallest area erased",
        "smallest share of the image that is erased",
        usual="0.02",
        low=0,
        high=1,
        step=0.01,
        when=When("augment.erasing", (True,)),
    )
    erase_area_max: float = setting(
        0.33,
        "--erase-area-max",
        "Largest area erased",
        "largest share of the image that is erased",
        usual="0.33",
        low=0,
        high=1,
        step=0.01,
        when=When("augment.erasing", (True,)),
    )
    erase_ratio_min: float = setting(
        0.3,
        "--erase-ratio-min",
        "Smallest height ÷ width",
        "smallest ratio of height to width of the erased rectangle",
        usual="0.3",
        low=0.01,
        high=100,
        step=0.1,
        when=When("augment.erasing", (True,)),
    )
    erase_ratio_max: float = setting(
        3.3,
        "--erase-ratio-max",
        "Largest height ÷ width",
        "largest ratio of height to width of the erased rectangle",
        usual="3.3",
        low=0.01,
        high=100,
        step=0.1,
        when=When("augment.erasing", (True,)),
    )
    mixup: bool = setting(
        False, "--mixup-aug", "Mixup", "mixup: weighted averages of pairs of images"
    )
    mixup_alpha: float = setting(
        0.2,
        "--mixup-alpha",
        "Mixup α",
        "the mixing weight λ is drawn from Beta(α, α): with a small α it is mostly near 0 or 1, "
        "with α = 1 every value from 0 to 1 is equally likely",
        usual="0.2 to 1",
        low=0,
        high=100,
        above=True,
        step=0.05,
        when=When("augment.mixup", (True,)),
    )
    cutmix: bool = setting(
        False, "--cutmix-aug", "CutMix", "CutMix: a rectangle of each image is taken from another"
    )
    cutmix_alpha: float = setting(
        1.0,
        "--cutmix-alpha",
        "CutMix α",
        "the mixing weight λ is drawn from Beta(α, α): with a small α it is mostly near 0 or 1, "
        "with α = 1 every value from 0 to 1 is equally likely",
        usual="1",
        low=0,
        high=100,
        above=True,
        step=0.05,
        when=When("augment.cutmix", (True,)),
    )

    @property
    def flips_any(self) -> bool:
        """Whether training shows mirrored images; alternating flip does with any probability."""
        return self.flip and (self.flip_p > 0 or self.alternating_flip)

    def __post_init__(self):
        settings.check(self, "augment.")
        for name in ("area", "ratio"):
            low, high = (getattr(self, f"erase_{name}_{end}") for end in ("min", "max"))
            if low > high and high == getattr(AugmentConfig, f"erase_{name}_max"):  # the default
                path = f"augment.erase_{name}_min"
                raise ConfigError(path, f"{low:g} is above the largest one, {high:g}")
            if low > high:
                path = f"augment.erase_{name}_max"
                raise ConfigError(path, f"{high:g} is below the smallest one, {low:g}")
