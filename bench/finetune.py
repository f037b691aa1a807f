"""Fine-tuning on few images of new classes, against training from scratch.

    python -m bench.finetune cifar10-jpeg.zip --work FOLDER [--pairs cat-dog] [--seeds 0 1 2 3 4]

For each pair of classes a small network (BASE) is trained on the other eight of CIFAR-10. It is
then fine-tuned with the preset on IMAGES images of each class of the pair; the best recipe from
scratch gets the same images. Both are tested on TEST other images of each class. Prints accuracies,
their differences seed by seed, and the time of a fine-tuning. Runs and subsets are kept in FOLDER
and not made again, so that the measurement can be made in pieces.

The recipes were chosen with `--choose`, which compares CANDIDATES on the pairs of CHOICE: they are
not among those measured.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench import report
from engine import data, runs
from engine.config import RunConfig, with_fields
from engine.data.zips import ZipImages
from engine.device import resolve
from engine.predict import load_network, measure
from engine.presets import FINE_TUNE, PRESETS, SPEEDRUN
from engine.randomness import Purpose, keyed_generator
from engine.runs.run import Run, State
from engine.training import session
from engine.training.prepare import prepare

IMAGES, TEST = 40, 500  # of each class of a pair
SHOWN = 8  # test images of each class during training, as a user has few
PAIRS = ("cat-dog", "bird-frog", "automobile-truck")
CHOICE = ("deer-horse", "airplane-ship")
BASE = {**SPEEDRUN, "model.width": 0.5, "batch_size": 250, "epochs": 2, "tta": False}
STRONG = {"augment.erasing": True, "optim.nesterov": True, "schedule.kind": "one_cycle"}
FINE = {**STRONG, "batch_size": 8, "epochs": 20}
SCRATCH = {**STRONG, "batch_size": 8, "epochs": 80}
SMALL = {"model.arch": "vgg11", "model.width": 0.25}
BEST_SCRATCH = "scratch, speedrun"
CANDIDATES = {
    "preset": PRESETS[FINE_TUNE].values,
    "fine, lr 0.001": {**FINE, "optim.lr": 0.001, "optim.head_lr": 30.0},
    "fine, lr 0.003": {**FINE, "optim.lr": 0.003, "optim.head_lr": 10.0},
    "fine, lr 0.01": {**FINE, "optim.lr": 0.01, "optim.head_lr": 10.0},
    "fine, lr 0.03": {**FINE, "optim.lr": 0.03, "optim.head_lr": 10.0},
    "fine, lr 0.01, head 100": {**FINE, "optim.lr": 0.01, "optim.head_lr": 100.0},
    "fine, head alone": {**FINE, "optim.lr": 1e-5, "optim.head_lr": 10_000.0},
    "scratch, speedrun": {
        **{**SPEEDRUN, "model.width": 0.5, "progressive": False},
        **{"augment.erasing": True, "batch_size": 8, "epochs": 80},
    },
    "scratch, vgg11": {**SCRATCH, **SMALL, "optim.lr": 0.02},
    "scratch, vgg11, adamw": {
        **{**SCRATCH, **SMALL, "optim.nesterov": False},
        **{"optim.optimizer": "adamw", "optim.lr": 0.001, "optim.weight_decay": 0.05},
    },
    "scratch, resnet10": {
        **{**SCRATCH, "model.arch": "resnet10", "model.width": 0.25, "optim.lr": 0.02},
    },
}


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__, repeats=False)
    parser.add_argument("dataset", type=Path, help="CIFAR-10 as a zip of class folders")
    parser.add_argument("--work", type=Path, required=True, help="folder of subsets and runs")
    parser.add_argument("--pairs", nargs="+", choices=(*PAIRS, *CHOICE))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data-root", default="data", help="as in train.py")
    parser.add_argument("--choose", action="store_true", help="compare the candidate recipes")
    parser.add_argument("--only", nargs="+", help="candidates to compare, by name")
    args = parser.parse_args(arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    return report.publish(choice(args) if args.choose else rows(args), args.json)


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    """Accuracies of both recipes on the pairs of PAIRS, and their differences."""
    for pair in args.pairs or PAIRS:
        tuned = [candidate(args, pair, "preset", seed) for seed in args.seeds]
        best = [candidate(args, pair, BEST_SCRATCH, seed) for seed in args.seeds]
        found = [[accuracy(args, pair, run) for run in part] for part in (tuned, best)]
        status = base(args, pair).status()
        yield report.alone(f"without {pair}: base network", "%", [100 * status.final_acc])
        for title, values in zip(("fine-tuned", "from scratch"), found, strict=True):
            yield report.alone(f"{pair}: {title}", "%", values, statistics.mean(values))
        gains = [a - b for a, b in zip(*found, strict=True)]
        yield report.alone(f"{pair}: difference", "points", gains, statistics.mean(gains))
        yield report.alone(f"{pair}: fine-tuning", "s", [run.status().seconds for run in tuned])


def choice(args: argparse.Namespace) -> Iterator[report.Row]:
    """Test accuracy and time of each candidate, over the pairs of CHOICE and the seeds."""
    for pair in args.pairs or CHOICE:
        for name in args.only or CANDIDATES:
            found = [candidate(args, pair, name, seed) for seed in args.seeds]
            accuracies = [accuracy(args, pair, run) for run in found]
            yield report.alone(f"{pair}: {name}", "%", accuracies, statistics.mean(accuracies))
            yield report.alone(f"{pair}: {name}", "s", [run.status().seconds for run in found])


def candidate(args: argparse.Namespace, pair: str, name: str, seed: int) -> Run:
    """Train one candidate, from the base network unless it starts from scratch."""
    values = CANDIDATES[name]
    if not name.startswith("scratch"):
        model = base(args, pair).config().model
        network = {"model.arch": model.arch, "model.width": model.width}
        values = {**values, **network, "pretrained": f"base-{pair}"}
    values = {**values, "seed": seed}
    return trained(args, run_name(pair, name, seed), few(args, pair, seed), values)


def run_name(pair: str, name: str, seed: int) -> str:
    return f"{pair}-{name.replace(', ', '-').replace(' ', '')}-{seed}"


def accuracy(args: argparse.Namespace, pair: str, run: Run) -> float:
    """Accuracy in percent of a run's last weights on TEST images of each class of the pair."""
    path = args.work / f"{pair}-test.zip"
    if not path.exists():
        write_subset(args.dataset, path, {"train": 1, "test": TEST}, pair.split("-"))
    compute = resolve()
    images = data.load(str(path), Path(args.data_root))
    network = load_network(run.path / "last.safetensors", compute)
    return 100 * measure(network, images.test_images, images.test_labels, compute).acc


def base(args: argparse.Namespace, pair: str) -> Run:
    """A network trained on the eight other classes."""
    path = args.work / f"without-{pair}.zip"
    if not path.exists():
        others = [n for n in classes(args.dataset) if n not in pair.split("-")]
        write_subset(args.dataset, path, {"train": None, "test": None}, others)
    return trained(args, f"base-{pair}", path, BASE)


def few(args: argparse.Namespace, pair: str, seed: int) -> Path:
    """A zip with IMAGES training images of each class of a pair, drawn with the seed."""
    path = args.work / f"{pair}-{seed}.zip"
    if not path.exists():
        counts = {"train": IMAGES, "test": SHOWN}
        write_subset(args.dataset, path, counts, pair.split("-"), seed)
    return path


def classes(source: Path) -> list[str]:
    with ZipImages(source) as archive:
        return sorted({name.split("/")[1] for name in archive.files})


def write_subset(
    source: Path, target: Path, counts: dict[str, int | None], names: list[str], seed: int = 0
) -> None:
    """Copy images of some classes into a zip: `counts` of each split and class, None for all.

    Training images are drawn with the seed; test images are always the same.
    """
    partial = target.with_suffix(".partial")
    with ZipImages(source) as archive, zipfile.ZipFile(partial, "w") as copy:
        for split, count in counts.items():
            for index, name in enumerate(names):
                files = sorted(f for f in archive.files if f.startswith(f"{split}/{name}/"))
                if count is not None:
                    key = (seed if split == "train" else 0, Purpose.SAMPLE, index)
                    order = torch.randperm(len(files), generator=keyed_generator(*key))
                    files = [files[i] for i in order[:count].tolist()]
                for file in files:
                    copy.writestr(file, archive.read(file))
    partial.rename(target)


def trained(args: argparse.Namespace, name: str, dataset: Path, values: dict[str, Any]) -> Run:
    """The run `name`, trained now unless it is finished."""
    root = args.work / "runs"
    run = Run(root / name)
    if run.exists():
        if run.status().state is State.FINISHED:
            return run
        shutil.rmtree(run.path)
    place = {"data.dataset": str(dataset), "data.root": args.data_root}
    prepared = prepare(with_fields(RunConfig(), {**values, **place}), root)
    run = runs.create(root, name, prepared.config)
    with run.hold("bench.finetune") as writer:
        writer.begin((State.QUEUED,))
        if session.run_training(writer, prepared) is not State.FINISHED:
            raise SystemExit(f"bench.finetune: {name}: {writer.status.message}")
    return run


if __name__ == "__main__":
    sys.exit(main())
