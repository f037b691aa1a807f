"""Recognition of split names: folders of training, test and validation images."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

TRAIN, TEST, VAL, UNLABELED, PIECE = "train", "test", "val", "unlabeled", "piece"

_WORDS = {
    TRAIN: ("train", "training", "trn", "trainval"),
    TEST: ("test", "tests", "testing", "tst", "holdout", "heldout"),
    VAL: ("val", "valid", "validation", "validate", "dev", "eval", "evaluation"),
    UNLABELED: (
        *("unlabeled", "unlabelled", "unlabel", "unsup", "unsupervised", "unannotated"),
        *("pred", "preds", "predict", "prediction", "predictions", "inference", "submission"),
    ),
    PIECE: ("fold", "part", "split", "subset", "chunk", "shard", "batch"),
}
# Words that are customarily joined to those above without changing their meaning.
_EXTRA = (
    *("image", "images", "img", "imgs", "pic", "pics", "picture", "pictures"),
    *("photo", "photos", "jpg", "jpeg", "png", "data", "dataset", "datasets", "set", "sets"),
    *("split", "folder", "dir", "files", "sample", "samples", "example", "examples"),
    *("raw", "full", "small", "all", "original", "resized", "crop", "crops", "cropped"),
    *("aug", "augmented", "labeled", "labelled", "class", "classes", "rgb"),
)
_SHORT = ("v", "x", "px")  # train_v2, train_64x64; only as separate words
_NEUTRAL = {*_EXTRA, *_SHORT}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words}
_KINDS |= {
    joined: kind
    for kind, words in _WORDS.items()
    if kind not in (UNLABELED, PIECE)
    for word in words
    for extra in _EXTRA
    for joined in (word + extra, extra + word)
}
# Also class names: a vehicle, an activity, the opposite of "invalid", a kind of server.
_COMMON = {"train", "training", "valid", "dev"}


@dataclass(frozen=True)
class SplitName:
    """The name of a folder, parsed as that of a split."""

    kind: str  # TRAIN, TEST, VAL, UNLABELED or PIECE
    qualifiers: tuple[str, ...] = ()  # other words, such as ("cifar",) of "cifar10_train"
    is_common_word: bool = False  # whether the name is also an ordinary word


def parse(name: str) -> SplitName | None:
    """Parse the name of a folder; None if it is not that of a split.

    Case, separators, digits and words such as "images" or "set" do not matter: "Train",
    "test-set", "imgs_train" and "val2017" are all recognized. Names with words of several kinds,
    such as "train_test", are not, except that train with validation is TRAIN, and anything
    unlabelled is UNLABELED.
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    words = re.findall(r"[^\W\d_]+", text.casefold())
    kinds = {_KINDS[word] for word in words if word in _KINDS}
    if len(kinds) > 1:
        kinds -= {PIECE}  # "test_split"
    if kinds == {TRAIN, VAL}:
        kinds = {TRAIN}
    if UNLABELED in kinds:  # "unlabeled_train"
        kinds = {UNLABELED}
    if len(kinds) != 1:
        return None
    qualifiers = tuple(word for word in words if word not in _KINDS and word not in _NEUTRAL)
    return SplitName(
        kinds.pop(), qualifiers, is_common_word=len(words) == 1 and words[0] in _COMMON
    )


def is_neutral(name: str) -> bool:
    """Whether a name is generic, such as "images" or "data"."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return bool(words) and all(word in _NEUTRAL for word in words)


def find(names: Iterable[str], with_classes: set[str]) -> dict[str, SplitName]:
    """The split names among the names of sibling folders.

    A name with qualifiers, such as "rainbow_train", counts only next to its counterpart
    ("rainbow_test"), or if the folder has classes and is for training or next to another split.
    with_classes: names of the folders that contain two or more class folders.
    """
    parsed = {name: split for name in names if (split := parse(name)) is not None}
    parsed = {name: split for name, split in parsed.items() if split.kind != PIECE}

    def is_split(name: str, split: SplitName) -> bool:
        others = [other for other in parsed.values() if other.kind != split.kind]
        if not split.qualifiers or any(other.qualifiers == split.qualifiers for other in others):
            return True
        return name in with_classes and (split.kind == TRAIN or bool(others))

    return {name: split for name, split in parsed.items() if is_split(name, split)}


def pieces(names: Iterable[str]) -> list[str]:
    """The names of numbered pieces of a data set, such as "fold1" or "part_2"."""
    return [name for name in names if parse(name) == SplitName(PIECE)]
