"""Output of train.py without training: the architectures, and the accuracy of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine import data
from engine.config import RunConfig, with_fields
from engine.device import resolve
from engine.errors import CheckpointError, ConfigError, RunError
from engine.evaluate import TestTimeAugmentation
from engine.models import ARCHITECTURES
from engine.models.summary import count_parameters
from engine.predict import load_network, measure
from terminal.display import DataBar, print_import_notes


def list_architectures() -> int:
    for name, architecture in ARCHITECTURES.items():
        print(f"{name:18} {count_parameters(name):>12,}  {architecture.description}")
    return 0


EVALUATED = {"device", "precision", "tta", "data.dataset", "data.root", "data.url", "data.fit"}


def _check_evaluation(args: argparse.Namespace, given: dict) -> None:
    """Raise ConfigError for arguments that have no effect on an evaluation."""
    others = {"name": args.name, "preset": args.preset, "resume": args.resume}
    names = [name for name, value in others.items() if value]
    names += [path for path in given if path not in EVALUATED]
    if names:
        raise ConfigError(names[0], "has no effect with --evaluate; leave it out")


def evaluate_run(args: argparse.Namespace, given: dict) -> int:
    """Print a checkpoint's accuracy on the test images of its own or another data set."""
    candidates = (args.run_root / args.evaluate, Path(args.evaluate))
    path = next((p for p in candidates if args.evaluate and _exists(p)), None)
    if path is None:
        raise RunError(f"there is no run or weights file {args.evaluate!r} in {args.run_root}")
    _check_evaluation(args, given)
    checked = with_fields(RunConfig(), given)
    compute = resolve(checked.device, checked.precision)
    network = load_network(path, compute)
    others = {path: value for path, value in given.items() if path.startswith("data.")}
    choice = with_fields(network.config, others).data
    images = data.load(
        choice.dataset, Path(choice.root), fit=choice.fit, url=choice.url, progress=DataBar()
    )
    if images.classes != network.classes:
        raise CheckpointError(
            f"{args.evaluate} knows {', '.join(network.classes)[:200]}; "
            f"{images.name} has other classes: {', '.join(images.classes)[:200]}"
        )
    print_import_notes(images)
    tta = TestTimeAugmentation.like_training(network.config.augment) if checked.tta else None
    tally = measure(network, images.test_images, images.test_labels, compute, tta=tta)
    how = f", with test-time augmentation ({_views(tta)})" if tta else ""
    own = choice.dataset == network.config.data.dataset and network.config.data.holdout == 0
    if own and network.weights.stem == "best":
        how += " (which selected these weights)"
    print(f"{network.weights} on the test images of {images.name}{how}: loss {tally.loss:.4f}")
    print(f"accuracy {100 * tally.acc:.2f} % ({tally.correct}/{tally.count})")
    return 0


def _views(tta: TestTimeAugmentation) -> str:
    return (
        f"{tta.count} views" if tta.count > 1 else "1 view: the run trained without flip and crop"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a path
        return False
