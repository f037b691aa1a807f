"""One batch through the training pipeline, as pictures and text.

Pure: no `st.` call, and no run is read or changed. Random numbers are keyed as in a run, so that
the same seed draws the same numbers while a parameter is varied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from engine.augment import (
    CutMix,
    CutMixParams,
    ErasingParams,
    Mixup,
    Pipeline,
    PipelineParams,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    Stage,
    denormalize,
)
from engine.data import ImageData
from engine.data.batches import epoch_permutation
from engine.randomness import Purpose, keyed_generator
from pages.ui import images
from pages.ui.text import percent

BATCH = 32  # images mixed with one another and shown together
MIXING = {"none": "None", "mixup": "Mixup", "cutmix": "CutMix", "both": "Either, at random"}


@dataclass(frozen=True)
class Knobs:
    """Every parameter of the pipeline; the defaults are those of training."""

    padding: int = RandomCrop.padding  # pixels
    flip_p: float = RandomHorizontalFlip.p
    erase_p: float = RandomErasing.p
    erase_scale: tuple[float, float] = RandomErasing.scale  # share of the image
    erase_ratio: tuple[float, float] = RandomErasing.ratio  # height / width
    mixup_alpha: float = Mixup.alpha
    cutmix_alpha: float = CutMix.alpha

    def pipeline(self, data: ImageData, mixing: str) -> Pipeline:
        """The training pipeline with all steps on; mixing is one of MIXING."""
        return Pipeline(
            mean=data.mean,
            std=data.std,
            crop=RandomCrop(self.padding),
            flip=RandomHorizontalFlip(self.flip_p),
            erasing=RandomErasing(self.erase_p, self.erase_scale, self.erase_ratio),
            mixup=Mixup(self.mixup_alpha) if mixing in ("mixup", "both") else None,
            cutmix=CutMix(self.cutmix_alpha) if mixing in ("cutmix", "both") else None,
        )

    def settings(self, mixing: str) -> dict[str, Any]:
        """The settings of a run that trains with these steps, by dotted path."""
        return {
            "augment.crop": self.padding > 0,
            "augment.crop_padding": max(1, self.padding),
            "augment.flip": True,
            "augment.flip_p": self.flip_p,
            "augment.erasing": True,
            "augment.erase_p": self.erase_p,
            "augment.erase_area_min": self.erase_scale[0],
            "augment.erase_area_max": self.erase_scale[1],
            "augment.erase_ratio_min": self.erase_ratio[0],
            "augment.erase_ratio_max": self.erase_ratio[1],
            "augment.mixup": mixing in ("mixup", "both"),
            "augment.mixup_alpha": self.mixup_alpha,
            "augment.cutmix": mixing in ("cutmix", "both"),
            "augment.cutmix_alpha": self.cutmix_alpha,
        }


@dataclass(frozen=True)
class Trace:
    """A batch after each stage of a pipeline."""

    pipeline: Pipeline
    params: PipelineParams
    stages: dict[str, Stage]  # by name, in order

    @property
    def last(self) -> Stage:
        return next(reversed(self.stages.values()))

    def pixels(self, name: str) -> np.ndarray:
        """uint8 [B, 3, 32, 32] after the step `name`, denormalized."""
        return _pixels(self.stages[name], self.pipeline)

    def picture(self, name: str, scale: int = images.LARGE, index: int = 0) -> Image.Image:
        """One image of the batch after the step `name`."""
        return images.enlarge(self.pixels(name)[index], scale)


def trace(pipeline: Pipeline, batch: Any, labels: Any, seed: int) -> Trace:
    """Augment uint8 [B, 3, 32, 32] with labels int64 [B], keyed as in the first step of a run."""
    params = pipeline.sample(batch.shape, keyed_generator(seed, Purpose.AUGMENT, 1, 0))
    stages = pipeline.stages(batch, labels, params)
    return Trace(pipeline, params, {stage.name: stage for stage in stages})


def choose_batch(data: ImageData, first: int, own: Any = None) -> tuple[Any, Any]:
    """At most BATCH training images in a fixed order, from the `first` on, and their labels.

    An image `own`, uint8 [3, 32, 32], takes the place of the first, with the label
    len(data.classes); `first` has no effect then, so that its partners stay.
    """
    first = first if own is None else 0
    chosen = epoch_permutation(len(data.train_labels), 0, 0).roll(-first)[:BATCH]
    batch, labels = data.train_images[chosen], data.train_labels[chosen]
    if own is not None:
        batch.numpy()[0], labels[0] = own, len(data.classes)
    return batch, labels


def _pixels(stage: Stage, pipeline: Pipeline) -> np.ndarray:
    if stage.images.is_floating_point():
        return denormalize(stage.images, pipeline.mean, pipeline.std).numpy()
    return stage.images.numpy()


# ---------------------------------------------------------------------------- pictures


def cropped(traced: Trace) -> Image.Image:
    """The image after the crop; beside it the padded image, with the crop framed."""
    padding, params = traced.pipeline.crop.padding, traced.params.crop
    padded = np.pad(traced.pixels("input")[0], ((0, 0), (padding, padding), (padding, padding)))
    side = images.SMALL * images.SIZE
    ratio = side / (images.SIZE + 2 * padding)
    window = images.enlarge(padded, 1).resize((side, side), Image.Resampling.NEAREST)
    box = int(params.top[0]), int(params.left[0]), images.SIZE, images.SIZE
    window = images.framed(window, *(round(ratio * value) for value in box))
    return images.beside(traced.picture("crop"), [window])


def flipped(traced: Trace) -> Image.Image:
    """The image after the flip; beside it the image before."""
    return images.beside(traced.picture("flip"), [traced.picture("crop", images.SMALL)])


def erased(traced: Trace) -> Image.Image:
    """The image after erasing, with the rectangle framed; beside it the image before."""
    picture = _framed(traced.picture("erasing"), *_rectangle(traced.params.erasing))
    return images.beside(picture, [traced.picture("flip", images.SMALL)])


def mixed(traced: Trace) -> Image.Image:
    """The image after Mixup, or CutMix with its box framed; beside it the two source images."""
    picture, box = traced.picture(traced.last.name), traced.params.cutmix
    if box:
        picture = _framed(picture, box.top, box.left, box.bottom - box.top, box.right - box.left)
    both = (traced.picture("erasing", images.SMALL, index) for index in (0, partner_of(traced)))
    return images.beside(picture, list(both))


def _framed(picture: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    if not height * width:
        return picture
    return images.framed(picture, *(images.LARGE * value for value in (top, left, height, width)))


# ---------------------------------------------------------------------------- words


def moved_text(traced: Trace, index: int = 0) -> str:
    """Offset of the crop, such as "3 px down, 1 px left"."""
    padding, params = traced.pipeline.crop.padding, traced.params.crop
    down, right = padding - int(params.top[index]), padding - int(params.left[index])
    parts = []
    if down:
        parts.append(f"{abs(down)} px {'down' if down > 0 else 'up'}")
    if right:
        parts.append(f"{abs(right)} px {'right' if right > 0 else 'left'}")
    return ", ".join(parts) or "not moved"


def erased_share(traced: Trace, index: int = 0) -> float:
    """Share of an image that was erased, 0 to 1."""
    params, size = traced.params.erasing, traced.stages["input"].images.shape
    return int(params.height[index] * params.width[index]) / (size[2] * size[3])


def erased_text(traced: Trace) -> str:
    """Erased rectangle, such as "16.1 % erased: 15 px high, 11 px wide"."""
    _, _, height, width = _rectangle(traced.params.erasing)
    share = erased_share(traced)
    if not share:
        return "Not erased this time"
    return f"{percent(share, 1)} erased: {height} px high, {width} px wide"


def box_text(params: CutMixParams) -> str:
    """Pasted box, such as "21.5 % pasted: 14 px high, 16 px wide"."""
    height, width = params.bottom - params.top, params.right - params.left
    if not height * width:
        return "Nothing pasted this time"
    return f"{percent(1 - params.lam, 1)} pasted: {height} px high, {width} px wide"


def _rectangle(params: ErasingParams) -> tuple[int, int, int, int]:
    return tuple(int(values[0]) for values in params)


def partner_of(traced: Trace, index: int = 0) -> int | None:
    """Index in the batch of the image that this one is mixed with; None without mixing."""
    mixing = traced.params.mixup or traced.params.cutmix
    return int(mixing.order[index]) if mixing else None


def soft_label(stage: Stage, names: list[str], index: int = 0) -> list[tuple[str, float]]:
    """Target of an image as (class, share); shares sum to 1. One entry if both classes agree."""
    first, second = int(stage.targets_a[index]), int(stage.targets_b[index])
    if first == second or stage.lam == 1:
        return [(names[first], 1.0)]
    return [(names[first], stage.lam), (names[second], 1 - stage.lam)]


def label_text(parts: list[tuple[str, float]]) -> str:
    """Soft label, such as "cat 70.0 % + dog 30.0 %"."""
    return " + ".join(f"{name} {percent(share, 1)}" for name, share in parts)


def channels_text(values: tuple[float, ...]) -> str:
    """Values per channel, such as "0.491, 0.482, 0.447"."""
    return ", ".join(f"{value:.3f}" for value in values)


def batch_text(traced: Trace) -> str:
    """How many images of the batch each step changed, and how it was mixed."""
    params, stage = traced.params, traced.last
    count = len(stage.targets_a)
    still = sum(moved_text(traced, i) == "not moved" for i in range(count))
    mirrored = int(params.flip.flipped.sum())
    hidden = int((params.erasing.height > 0).sum())
    text = (
        f"Of {count} images, {count - still} are moved, {mirrored} mirrored and {hidden} partly "
        "erased. "
    )
    lam = f"λ\u00a0=\u00a0{stage.lam:.3f}"
    if params.mixup:
        return f"{text}Mixup blends each with another: {lam} for the whole batch."
    if params.cutmix:
        return f"{text}CutMix pastes the same box into each: {lam} of every image is kept."
    return text + "Nothing is mixed: every label stays a single class."


def batch_table(traced: Trace, names: list[str]) -> pd.DataFrame:
    """Augmentation parameters of the batch, one row per image, numbered from 1."""
    stage = traced.last
    rows = []
    for i in range(len(stage.targets_a)):
        partner = partner_of(traced, i)
        rows.append(
            {
                "Image": i + 1,
                "Class": names[int(stage.targets_a[i])],
                "Moved": moved_text(traced, i),
                "Mirrored": bool(traced.params.flip.flipped[i]),
                "Erased": 100 * erased_share(traced, i),
                "Mixed with image": None if partner is None else partner + 1,
                "Label": label_text(soft_label(stage, names, i)),
            }
        )
    return pd.DataFrame(rows)
