"""Export a finished run as a network shipped with the app: half-precision weights and a card.

    python scripts/export_pretrained.py RUN [--name NAME] [--run-root checkpoints] [--into FOLDER]

Writes weights, temperature, config, status, the records of the epochs and README.md to
checkpoints/pretrained/NAME/. The figures on the card are measured here, on the test images, with
the file that is shipped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor

from engine import data, runs
from engine.config import RunConfig, with_fields
from engine.data.batches import split
from engine.device import resolve
from engine.errors import CheckpointError, ConfigError, DataError, RunError
from engine.evaluate import TestTimeAugmentation
from engine.files import sha256, write_atomic
from engine.inspect import calibration
from engine.inspect.confusion import Confusion, confusion
from engine.predict import Predictor, load_network, measure
from engine.runs import history as predictions
from engine.runs.checkpoint import load_weights, save_weights
from engine.runs.run import SCHEMA, Run, State, Status
from engine.training import initial

REPOSITORY = Path(__file__).resolve().parents[1]
MACHINE = ("device", "device_name", "precision", "threads", "torch")
CARD = """# {name}

{arch} network, {parameters:,} parameters, {megabytes:.1f} MB in half precision. It classifies 32×32
images of ten classes: {classes}.

| | |
|---|---|
| data | {data}: {train:,} training and {test:,} test images |
| training time | {time} |
| test accuracy | {plain:.2f} % |
| with test-time augmentation | {tta:.2f} % ({views}) |
| calibration temperature | {temperature:.3f} |
| expected calibration error | {before:.2f} %, with the temperature {after:.2f} % |

| class | recall (%) | precision (%) |
|---|---|---|
{rows}

Made by

{commands}

n = 1 (seed {seed}). All figures are measured with the file in this folder on the test images;
`python train.py --evaluate FILE --dataset DATA` repeats the first accuracy, with `--tta` the
second. The temperature was fitted on {fitted:,} of the test images, the calibration errors are
those of the others. The weights are those after the last epoch.{selection}

Limitations: the network always predicts one of these ten classes, whatever the picture shows; on
images that differ from the training images (whole scenes, drawings, other crops) its probabilities
are unreliable. {origin}It is meant for teaching, not for decisions.

Written by `python scripts/export_pretrained.py`.
"""
SELECTION = (
    "\nThe recipe was selected among a few by its accuracy on these test images, so all figures "
    "are slightly optimistic."
)
JPEG = "It was trained on CIFAR-10 (JPEG), not the original files of\nCIFAR-10. "


def shipped_config(config: RunConfig) -> RunConfig:
    """The config without this machine's folders."""
    name = Path(config.data.dataset).name
    return with_fields(config, {"data.dataset": name, "data.root": RunConfig().data.root})


def export(run: Run, name: str, into: Path) -> Path:
    """Write and return the folder `into`/`name`. Raises RunError unless the run is finished."""
    status, info = run.status(), run.dataset_info()
    if status.state is not State.FINISHED:
        raise RunError(f"run {run.name!r} is {status.state}; ship a finished one")
    config, folder, trained = run.config(), into / name, history(run)
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
    labels = images.test_labels
    logits = Predictor(network, compute).logits(images.test_images)
    views = TestTimeAugmentation.like_training(network.config.augment)
    tta = measure(network, images.test_images, labels, compute, tta=views)
    found = confusion(labels, logits.argmax(1), images.classes)
    about = Status(
        state=State.FINISHED,
        created=status.created,
        updated=status.updated,
        step=status.step,
        steps=status.steps,
        epoch=status.epoch,
        epochs=status.epochs,
        seconds=status.seconds,
        final_acc=found.accuracy.value,
        tta_acc=tta.acc,
        parameters=status.parameters,
        val_is_test=status.val_is_test,
        compute={key: status.compute[key] for key in MACHINE if key in status.compute},
    )
    write_atomic(folder / "status.json", json.dumps(dataclasses.asdict(about), indent=2) + "\n")
    fit = calibrate(folder / "last.safetensors", logits, labels)
    keep_epochs(run, folder)
    card = card_of(folder, trained, about, images, fit, found)
    write_atomic(folder / "README.md", card)
    return folder


def calibrate(weights: Path, logits: Tensor, labels: Tensor) -> calibration.Fit:
    """Fit a temperature and store it beside the weights."""
    fit = calibration.fit_temperature(logits, labels)
    words = f"{fit.fitted_on:,} of {len(labels):,} test images"
    calibration.store(weights, sha256(weights), fit, words)
    return fit


def keep_epochs(run: Run, folder: Path) -> None:
    """Copy the records of the epochs, and their predictions of the validation images."""
    if folder.resolve() == run.path.resolve():
        return
    epochs = [record for record in run.records()[0] if record["kind"] == "epoch"]
    lines = "".join(f"{json.dumps(record)}\n" for record in epochs)
    write_atomic(folder / "metrics.jsonl", lines)
    if (run.path / predictions.NAME).exists():
        shutil.copyfile(run.path / predictions.NAME, folder / predictions.NAME)


def history(run: Run) -> list[Run]:
    """The run, preceded by the runs and shipped networks from whose weights it started.

    Raises ConfigError or RunError if one of them is gone.
    """
    config = run.config()
    if config.pretrained is None:
        return [run]
    parent = initial.find(config, run.path.parent).parent
    if parent.resolve() == run.path.resolve():
        raise RunError(f"{run.name}: the run that it started from has its name; rename this one")
    return [*history(Run(parent)), run]


def card_of(
    folder: Path,
    trained: list[Run],
    status: Status,
    images: data.ImageData,
    fit: calibration.Fit,
    found: Confusion,
) -> str:
    """The text of README.md. trained: the runs that led to these weights, in order."""
    config = trained[-1].config()
    what = "CIFAR-10 (JPEG)" if images.name == "cifar10-jpeg" else images.name
    choice = config.data
    used = split(
        images,
        holdout=choice.holdout,
        limit=choice.limit,
        seed=config.seed,
        stratified=choice.stratified,
    )
    rows = [f"| {r.name} | {100 * r.recall:.1f} | {100 * r.precision:.1f} |" for r in found.classes]
    return CARD.format(
        name=folder.name,
        arch=config.model.arch,
        parameters=status.parameters or 0,
        megabytes=(folder / "last.safetensors").stat().st_size / 1e6,
        classes=", ".join(images.classes),
        data=what,
        train=len(used.train_images),
        test=len(images.test_images),
        commands="\n".join(
            f"    {shipped_config(run.config()).to_command(run.name)}" for run in trained
        ),
        time=", then ".join(time_of(run.status()) for run in trained),
        plain=100 * status.final_acc,
        tta=100 * status.tta_acc,
        views=views_of(TestTimeAugmentation.like_training(config.augment)),
        temperature=fit.temperature,
        fitted=fit.fitted_on,
        before=100 * fit.ece_before,
        after=100 * fit.ece_after,
        rows="\n".join(rows),
        seed=config.seed,
        selection=SELECTION if status.val_is_test else "",
        origin=JPEG if images.name == "cifar10-jpeg" else "",
    )


def time_of(status: Status) -> str:
    """Training time and machine: "7.5 minutes on Intel Xeon, 2 threads, bf16"."""
    used = status.compute
    threads = f"{used['threads']} thread{'s' * (used['threads'] > 1)}"
    where = f"{used['device_name']}, {threads}, {used['precision']}"
    return f"{status.seconds / 60:.1f} minutes on {where}"


def views_of(tta: TestTimeAugmentation) -> str:
    """The views in words: "six views: mirrored or not, at three offsets"."""
    count = {1: "one view", 2: "two views", 3: "three views", 6: "six views"}[tta.count]
    parts = [("mirrored or not", tta.mirror), ("at three offsets", tta.shift)]
    words = ", ".join(text for text, used in parts if used)
    return f"{count}: {words}" if words else count


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
