"""What the training pipeline does to one batch: in pictures, words, rows and chart specs.

Pure: no `st.` call, and nothing of a run is read or changed. The randomness is keyed like that of
a run, so the same seed keeps the same chance while a parameter moves.
"""

from __future__ import annotations

import functools
import math
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

BATCH = 32  # images mixed with one another and shown together
SIDE = 6  # screen pixels along an image's pixel, where one image is looked at
MIXING = {"none": "None", "mixup": "Mixup", "cutmix": "CutMix", "both": "Either, by chance"}
OWN, PARTNER = "this image", "partner"


@dataclass(frozen=True)
class Knobs:
    """Every parameter of the pipeline; the defaults are those that training uses."""

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


@dataclass(frozen=True)
class Walk:
    """A batch on its way through a pipeline."""

    pipeline: Pipeline
    params: PipelineParams
    stages: dict[str, Stage]  # by name, in order

    @property
    def last(self) -> Stage:
        return next(reversed(self.stages.values()))

    def pixels(self, name: str) -> np.ndarray:
        """uint8 [B, 3, 32, 32] after the step `name`, in natural colours."""
        return _pixels(self.stages[name], self.pipeline)

    def picture(self, name: str, index: int = 0, scale: int = SIDE) -> Image.Image:
        """One image of the batch after the step `name`."""
        return images.enlarge(self.pixels(name)[index], scale)


def walk(pipeline: Pipeline, batch: Any, labels: Any, seed: int) -> Walk:
    """Take uint8 [B, 3, 32, 32] and int64 [B] through it as a run's first step would."""
    chance = pipeline.sample(batch.shape, keyed_generator(seed, Purpose.AUGMENT, 1, 0))
    stages = pipeline.stages(batch, labels, chance)
    return Walk(pipeline, chance, {stage.name: stage for stage in stages})


def choose_batch(data: ImageData, first: int, own: Any = None) -> tuple[Any, Any]:
    """BATCH training images (fewer if there are no more) in a fixed order, from the `first` on.

    An image `own`, uint8 [3, 32, 32], takes the first place, with the label len(data.classes).
    """
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


def crop_window(walked: Walk) -> Image.Image:
    """The first image with its padding, and a frame around what the crop keeps."""
    padding, chance = walked.pipeline.crop.padding, walked.params.crop
    image = walked.pixels("input")[0]
    height, width = image.shape[1:]
    scale = max(2, 128 // (height + 2 * padding))
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    top, left = int(chance.top[0]) * scale, int(chance.left[0]) * scale
    return images.framed(images.enlarge(padded, scale), top, left, height * scale, width * scale)


def erased(walked: Walk) -> Image.Image:
    """The first image after erasing, the rectangle framed."""
    top, left, height, width = _rectangle(walked.params.erasing)
    return _framed(walked.picture("erasing"), top, left, height, width)


def pasted(walked: Walk) -> Image.Image:
    """The first image after CutMix, the box framed."""
    box = walked.params.cutmix
    picture = walked.picture("cutmix")
    return _framed(picture, box.top, box.left, box.bottom - box.top, box.right - box.left)


def _framed(picture: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    if not height * width:
        return picture
    return images.framed(picture, top * SIDE, left * SIDE, height * SIDE, width * SIDE)


# ---------------------------------------------------------------------------- words


def moved_text(walked: Walk, index: int = 0) -> str:
    """Such as "3 px down, 1 px left"."""
    padding, chance = walked.pipeline.crop.padding, walked.params.crop
    down, right = padding - int(chance.top[index]), padding - int(chance.left[index])
    parts = []
    if down:
        parts.append(f"{abs(down)} px {'down' if down > 0 else 'up'}")
    if right:
        parts.append(f"{abs(right)} px {'right' if right > 0 else 'left'}")
    return ", ".join(parts) or "not moved"


def erased_share(walked: Walk, index: int = 0) -> float:
    """Share of an image that was erased, 0 to 1."""
    chance, size = walked.params.erasing, walked.stages["input"].images.shape
    return int(chance.height[index] * chance.width[index]) / (size[2] * size[3])


def erased_text(walked: Walk) -> str:
    _, _, height, width = _rectangle(walked.params.erasing)
    share = erased_share(walked)
    if not share:
        return "Not erased this time"
    return f"{height} × {width} px (height × width), {share:.1%} of the image"


def box_text(chance: CutMixParams) -> str:
    height, width = chance.bottom - chance.top, chance.right - chance.left
    if not height * width:
        return "The box is empty this time"
    return f"A box of {height} × {width} px (height × width)"


def _rectangle(chance: ErasingParams) -> tuple[int, int, int, int]:
    return tuple(int(values[0]) for values in chance)


def partner_of(walked: Walk, index: int = 0) -> int | None:
    """Position in the batch of the image that this one is mixed with."""
    mixing = walked.params.mixup or walked.params.cutmix
    return int(mixing.order[index]) if mixing else None


def soft_label(stage: Stage, names: list[str], index: int = 0) -> list[tuple[str, float]]:
    """What the network is asked for: (name, share), shares sum to 1; one entry if both agree."""
    first, second = int(stage.targets_a[index]), int(stage.targets_b[index])
    if first == second or stage.lam == 1:
        return [(names[first], 1.0)]
    return [(names[first], stage.lam), (names[second], 1 - stage.lam)]


def label_text(parts: list[tuple[str, float]]) -> str:
    return " + ".join(f"{name} {share:.1%}" for name, share in parts)


def channels_text(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def batch_text(walked: Walk) -> str:
    """How many images of the batch each step changed, and how it was mixed."""
    params, stage = walked.params, walked.last
    count = len(stage.targets_a)
    still = sum(moved_text(walked, i) == "not moved" for i in range(count))
    mirrored = int(params.flip.flipped.sum())
    hidden = int((params.erasing.height > 0).sum())
    text = (
        f"Of {count} images {count - still} are moved, {mirrored} mirrored and {hidden} partly "
        "erased. "
    )
    if params.mixup:
        return text + f"Mixup blends each with another: λ = {stage.lam:.3f} for the whole batch."
    if params.cutmix:
        return text + (
            f"CutMix pastes the same box into each: λ = {stage.lam:.3f} of every image is kept."
        )
    return text + "Nothing is mixed: every label stays whole."


def batch_table(walked: Walk, names: list[str]) -> pd.DataFrame:
    """The chance of every image in the batch, a row each, numbered from 1."""
    stage = walked.last
    rows = []
    for i in range(len(stage.targets_a)):
        partner = partner_of(walked, i)
        rows.append(
            {
                "Image": i + 1,
                "Class": names[int(stage.targets_a[i])],
                "Moved": moved_text(walked, i),
                "Mirrored": bool(walked.params.flip.flipped[i]),
                "Erased": 100 * erased_share(walked, i),
                "Mixed with image": None if partner is None else partner + 1,
                "Label": label_text(soft_label(stage, names, i)),
            }
        )
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------- rows and specs

SAMPLES = 4_000  # rectangles drawn for the distribution of areas
BIN = 0.02  # share of the image
DRAWN, MARKED = "all", "this one"


def label_rows(parts: list[tuple[str, float]]) -> pd.DataFrame:
    """Rows for LABEL_SPEC."""
    rows = [
        (f"{name} {share:.1%}", share, part)
        for (name, share), part in zip(parts, (OWN, PARTNER), strict=False)
    ]
    return pd.DataFrame(rows, columns=["label", "share", "part"])


def beta_rows(alpha: float, lam: float) -> pd.DataFrame:
    """Rows for BETA_SPEC: the density of Beta(α, α) at 199 points, and this batch's λ."""
    x = np.arange(1, 200) / 200
    log_scale = math.lgamma(2 * alpha) - 2 * math.lgamma(alpha)
    density = np.exp(log_scale + (alpha - 1) * np.log(x * (1 - x)))
    curve = pd.DataFrame({"x": x, "density": density, "kind": DRAWN})
    mark = {"x": lam, "kind": MARKED, "text": f"λ = {lam:.3f}"}
    return pd.concat([curve, pd.DataFrame([mark])], ignore_index=True)


@functools.lru_cache(maxsize=64)
def _areas(erasing: RandomErasing) -> tuple[np.ndarray, float]:
    """Shares of SAMPLES images by erased area in steps of BIN, and the share erased at all."""
    chance = erasing.sample((SAMPLES, 3, 32, 32), keyed_generator(0, Purpose.AUGMENT))
    area = (chance.height * chance.width).numpy() / (32 * 32)
    counts, _ = np.histogram(area[area > 0], bins=round(1 / BIN), range=(0, 1))
    return counts / SAMPLES, float((area > 0).mean())


def erased_often(erasing: RandomErasing) -> float:
    """Share of images that are erased at all, by trial."""
    return _areas(erasing)[1]


def area_rows(erasing: RandomErasing, area: float) -> pd.DataFrame:
    """Rows for AREA_SPEC: how often each area comes, and this image's if it was erased."""
    shares, _ = _areas(erasing)
    start = np.arange(len(shares)) * BIN
    rows = pd.DataFrame({"x": start, "end": start + BIN, "share": shares, "kind": DRAWN})
    if not area:
        return rows
    mark = {"x": area, "kind": MARKED, "text": f"{area:.1%}"}
    return pd.concat([rows, pd.DataFrame([mark])], ignore_index=True)


def _kinds(domain: list[str], field: str = "kind") -> dict[str, Any]:
    # a fixed domain takes its colours from the theme, in order
    return {"field": field, "type": "nominal", "scale": {"domain": domain}, "legend": None}


def _only(kind: str) -> list[dict[str, str]]:
    return [{"filter": f"datum.kind === '{kind}'"}]


def _marked() -> list[dict[str, Any]]:
    """A line at x of the one marked row, its text on the side with more room."""
    color = _kinds([DRAWN, MARKED])
    text = {
        "type": "text",
        "align": {"expr": "datum.x > 0.5 ? 'right' : 'left'"},
        "dx": {"expr": "datum.x > 0.5 ? -6 : 6"},
        "baseline": "top",
        "fontSize": 13,
        "fontWeight": "bold",
    }
    x = {"field": "x", "type": "quantitative"}
    return [
        {
            "transform": _only(MARKED),
            "mark": {"type": "rule", "strokeWidth": 3},
            "encoding": {"x": x, "color": color},
        },
        {
            "transform": _only(MARKED),
            "mark": text,
            "encoding": {"x": x, "y": {"value": 2}, "text": {"field": "text"}, "color": color},
        },
    ]


LABEL_SPEC: dict[str, Any] = {
    "height": {"step": 28},
    "width": "container",
    "mark": {"type": "bar", "cornerRadiusEnd": 3, "size": 16},
    "encoding": {
        "y": {
            "field": "label",
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": {"labelLimit": 170, "ticks": False, "domain": False},
        },
        "x": {
            "field": "share",
            "type": "quantitative",
            "title": "Share of the label",
            "scale": {"domain": [0, 1]},
            "axis": {"format": "%", "tickCount": 3},
        },
        "color": _kinds([OWN, PARTNER], "part"),
        "tooltip": [
            {"field": "label", "type": "nominal", "title": "Class"},
            {"field": "part", "type": "nominal", "title": "From"},
        ],
    },
}

BETA_SPEC: dict[str, Any] = {
    "height": 130,
    "width": "container",
    "layer": [
        {
            "transform": _only(DRAWN),
            "mark": {"type": "area", "clip": True, "opacity": 0.35, "line": {"clip": True}},
            "encoding": {
                "x": {
                    "field": "x",
                    "type": "quantitative",
                    "title": "λ, the share of the image itself",
                    "scale": {"domain": [0, 1]},
                    "axis": {"tickCount": 5},
                },
                "y": {
                    "field": "density",
                    "type": "quantitative",
                    "title": "Density",
                    "scale": {"domain": [0, 3]},
                    "axis": {"tickCount": 3},
                },
                "color": _kinds([DRAWN, MARKED]),
            },
        },
        *_marked(),
    ],
}

AREA_SPEC: dict[str, Any] = {
    "height": 130,
    "width": "container",
    "layer": [
        {
            "transform": _only(DRAWN),
            "mark": {"type": "bar", "opacity": 0.6},
            "encoding": {
                "x": {
                    "field": "x",
                    "type": "quantitative",
                    "bin": {"binned": True},
                    "title": "Erased share of the image",
                    "scale": {"domain": [0, 1]},
                    "axis": {"format": "%", "tickCount": 5},
                },
                "x2": {"field": "end"},
                "y": {
                    "field": "share",
                    "type": "quantitative",
                    "title": "Share of images",
                    "axis": {"format": ".1~%", "tickCount": 3},
                },
                "color": _kinds([DRAWN, MARKED]),
                "tooltip": [
                    {"field": "x", "type": "quantitative", "title": "From", "format": ".0%"},
                    {"field": "end", "type": "quantitative", "title": "to", "format": ".0%"},
                    {"field": "share", "type": "quantitative", "title": "Images", "format": ".1%"},
                ],
            },
        },
        *_marked(),
    ],
}
