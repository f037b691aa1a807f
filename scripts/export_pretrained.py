"""Export a finished run as a network shipped with the app: half-precision weights and a card.

    python scripts/export_pretrained.py RUN [--name NAME] [--run-root checkpoints] [--into FOLDER]

Writes last.safetensors, config.json, status.json and README.md to checkpoints/pretrained/NAME/.
The accuracies on the card are measured here, on the test images, with the file that is shipped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine import data, runs
from engine.config import RunConfig, with_fields
from engine.data.batches import split
from engine.device import resolve
from engine.errors import CheckpointError, ConfigError, DataError, RunError
from engine.evaluate import TestTimeAugmentation
from engine.files import write_atomic
from engine.predict import load_network, measure
from engine.runs.checkpoint import load_weights, save_weights
from engine.runs.run import SCHEMA, Run, State, Status

REPOSITORY = Path(__file__).resolve().parents[1]
MACHINE = ("device", "device_name", "precision", "threads", "torch")
CARD = """# {name}

{arch} network, {parameters:,} parameters, {megabytes:.1f} MB in half precision. It classifies 32×32
images of ten classes: {classes}.

| | |
|---|---|
| data | {data}: {train:,} training and {test:,} test images |
| training time | {minutes:.1f} minutes on {machine} |
| test accuracy | {plain:.2f} % |
| with test-time augmentation | {tta:.2f} % (six views: mirrored or not, at three offsets) |

Made by

{commands}

n = 1 (seed {seed}). Both accuracies are measured with the file in this folder on the test
images; `python train.py --evaluate FILE --dataset ZIP` repeats them, with `--tta` the second.
The weights are those after the last epoch.{selection}

Limitations: the network always predicts one of these ten classes, whatever the picture shows; on
images that differ from the training images (whole scenes, drawings, other crops) its probabilities
are unreliable. It was trained on {data}, not the original files of
CIFAR-10. It is meant for teaching, not for decisions.

Written by `python scripts/export_pretrained.py`.
"""
SELECTION = (
    "\nThe recipe was selected among a few by its accuracy on these test images, so both figures "
    "are slightly optimistic."
)


def shipped_config(config: RunConfig) -> RunConfig:
    """The config without this machine's folders."""
    name = Path(config.data.dataset).name
    return with_fields(config, {"data.dataset": name, "data.root": RunConfig().data.root})


def export(run: Run, name: str, into: Path) -> Path:
    """Write and return the folder `into`/`name`. Raises RunError unless the run is finished."""
    status, info = run.status(), run.dataset_info()
    if status.state is not State.FINISHED:
        raise RunError(f"run {run.name!r} is {status.state}; ship a finished one")
    config, folder = run.config(), into / name
    folder.mkdir(parents=True, exist_ok=True)
    weights, header = load_weights(run.path / "last.safetensors")
    halved = {key: t.half() if t.is_floating_point() else t for key, t in weights.items()}
    save_weights(folder / "last.safetensors", halved, header)
    content = {"schema": SCHEMA, "dataset_info": info, **shipped_config(config).to_dict()}
    write_atomic(folder / "config.json", json.dumps(content, indent=2) + "\n")

    choice = config.data
    images = data.load(choice.dataset, Path(choice.root), fit=choice.fit, url=choice.url)
    compute = resolve()
    network = load_network(folder, compute)
    given = (network, images.test_images, images.test_labels, compute)
    tta = TestTimeAugmentation.like_training(network.config.augment)
    plain, tta = measure(*given), measure(*given, tta=tta)
    about = Status(
        state=State.FINISHED,
        created=status.created,
        updated=status.updated,
        step=status.step,
        steps=status.steps,
        epoch=status.epoch,
        epochs=status.epochs,
        seconds=status.seconds,
        final_acc=plain.acc,
        tta_acc=tta.acc,
        parameters=status.parameters,
        val_is_test=status.val_is_test,
        compute={key: status.compute[key] for key in MACHINE if key in status.compute},
    )
    write_atomic(folder / "status.json", json.dumps(dataclasses.asdict(about), indent=2) + "\n")
    size = (folder / "last.safetensors").stat().st_size
    card = card_of(name, history(run), about, images, size)
    write_atomic(folder / "README.md", card)
    return folder


def history(run: Run) -> list[Run]:
    """The run, preceded by those from whose weights it started."""
    parent = run.config().pretrained
    return [*history(runs.open_run(run.path.parent, parent)), run] if parent else [run]


def card_of(
    name: str, trained: list[Run], status: Status, images: data.ImageData, size: int
) -> str:
    """The text of README.md. trained: the runs that led to these weights, in order."""
    config = trained[-1].config()
    what = "CIFAR-10 (JPEG)" if images.name == "cifar10-jpeg" else images.name
    machine = status.compute
    choice = config.data
    used = split(images, holdout=choice.holdout, limit=choice.limit, seed=config.seed, device="cpu")
    return CARD.format(
        name=name,
        arch=config.model.arch,
        parameters=status.parameters or 0,
        megabytes=size / 1e6,
        classes=", ".join(images.classes),
        data=what,
        train=len(used.train_images),
        test=len(images.test_images),
        commands="\n".join(
            f"    {shipped_config(run.config()).to_command(run.name)}" for run in trained
        ),
        minutes=sum(run.status().seconds for run in trained) / 60,
        machine=f"{machine['device_name']}, {machine['threads']} threads, {machine['precision']}",
        plain=100 * status.final_acc,
        tta=100 * status.tta_acc,
        seed=config.seed,
        selection=SELECTION if status.val_is_test else "",
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--name", help="of the shipped folder (default: the run's)")
    parser.add_argument("--run-root", type=Path, default=Path("checkpoints"))
    parser.add_argument("--into", type=Path, default=REPOSITORY / "checkpoints" / "pretrained")
    args = parser.parse_args(arguments)
    try:
        name = args.name or args.run
        runs.check_name(name)
        folder = export(Run(args.run_root / args.run), name, args.into)
    except (CheckpointError, ConfigError, DataError, RunError, OSError) as error:
        print(f"export_pretrained.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print((folder / "README.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
