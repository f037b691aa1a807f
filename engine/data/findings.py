"""Findings of an import that the user should see, as lines of text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from PIL.Image import Image
from torch import Tensor

from engine.data.layout import Sample, some

NEARLY_SQUARE = 0.95  # ratio of shorter to longer side above which crop or padding is not reported


@dataclass
class Findings:
    """Images that decoding changes more than the user may expect."""

    fit: str
    oblong: list[tuple[float, str]] = field(default_factory=list)  # (shorter/longer side, name)
    dark: list[str] = field(default_factory=list)

    def add(self, name: str, image: Image) -> None:
        """Note an image that `images.open_rgb` returned."""
        size = image.info["size"]
        if min(size) < NEARLY_SQUARE * max(size):
            self.oblong.append((min(size) / max(size), name))
        if image.info["dark_bits"]:
            self.dark.append(name)

    def notes(self, total: int) -> list[str]:
        if not self.oblong:
            return []
        share, name = min(self.oblong)
        many = f"{len(self.oblong):,} of {total:,} images are not square"
        if self.fit == "pad":
            return [f"{many}: they are padded with black"]
        return [
            f"{many}: only their central square is used, {100 * share:.0f} % of {name!r}; "
            "padding, under If not square (--fit), keeps whole images"
        ]

    def warnings(self) -> list[str]:
        if not self.dark:
            return []
        return [
            f"16-bit images that use only a small part of their range, such as those of a 12-bit "
            f"camera, come out nearly black ({len(self.dark):,}): {some(self.dark)}; "
            "scale them to the full range"
        ]


def find_duplicates(samples: Sequence[Sample], pixels: Tensor, train_count: int) -> list[str]:
    """Warnings of equal images, uint8 [N, 3, 32, 32], of which the first are for training."""
    first: dict[bytes, int] = {}
    leaked: list[tuple[int, int]] = []
    ambiguous: list[tuple[int, int]] = []
    repeated: list[tuple[int, int]] = []
    for index, row in enumerate(pixels.numpy()):
        same = first.setdefault(blake2b(row.tobytes(), digest_size=16).digest(), index)
        if same < train_count <= index:
            leaked.append((index, same))
        if samples[same][1] != samples[index][1]:
            ambiguous.append((index, same))
        elif same < index < train_count:
            repeated.append((index, same))
    lines = []
    if leaked:
        test = len(samples) - train_count
        are = "are training images" if len(leaked) > 1 else "is a training image"
        lines.append(
            f"{len(leaked):,} of {test:,} test images {are} too, such as "
            f"{_pair(samples, leaked[0])}: accuracy on test images will read too high"
        )
    if ambiguous:
        many = f"{len(ambiguous):,} images are" if len(ambiguous) > 1 else "1 image is"
        lines.append(f"{many} in two classes, such as {_pair(samples, ambiguous[0])}")
    if repeated:
        many = "images repeat others" if len(repeated) > 1 else "image repeats another"
        lines.append(
            f"{len(repeated):,} training {many} of the same class, such as "
            f"{_pair(samples, repeated[0])}: they count more than once in training"
        )
    return lines


def _pair(samples: Sequence[Sample], pair: tuple[int, int]) -> str:
    return " and ".join(repr(samples[index][0]) for index in pair)
