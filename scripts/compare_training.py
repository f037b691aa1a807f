"""Train an older commit and this working tree side by side and compare the results bit for bit.

    python scripts/compare_training.py main~10

For refactorings, which must not change results. Both trees train the same short runs through
`train.main`, each in its own process: fixed seed, one thread, a few steps on the built-in shapes,
every family of architectures with every augmentation and optimizer, in fp32 and bf16. Compares the
weights, the metrics (apart from speed), and the config, its command line and its share link.

Exit code 0: everything is the same, 1: something differs or a run failed, 2: bad arguments.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

COMMON = "--dataset shapes --limit 48 --holdout 40 -b 16 -e 2 --device cpu --seed 3"
# One of each family: a width at which it trains in about a second, one that reaches the fast paths.
FAMILIES = {
    "resnet10": (0.0625, 0.5),
    "wideresnet14": (0.0625, 0.25),
    "resnext10": (0.0625, 0.5),
    "vgg11": (0.0625, 0.5),
    "densenet121": (0.125, 0.5),
    "convmixer256d8": (0.125, 1.0),
    "speedrun": (0.125, 1.0),
}
AUGMENTATIONS = {
    "plain": "--no-crop --no-flip",
    "crop": "--no-flip",
    "flip": "--no-crop",
    "crop-flip": "",
    "alternating-flip": "--alternating-flip",
    "crop-reflect": "--crop-reflect --crop-padding 2",
    "erasing": "--erase-aug",
    "mixup": "--mixup-aug",
    "cutmix": "--cutmix-aug --cutmix-alpha 0.5",
    "mixup-cutmix": "--mixup-aug --mixup-alpha 0.4 --cutmix-aug",
}
OPTIMIZERS = {
    "sgd": "--lr 0.05 --momentum 0",
    "nesterov": "--lr 0.05 --nesterov",
    "adam": "--optim adam --lr 0.001",
    "adamw": "--optim adamw --lr 0.001 --weight-decay 0.05",
    "muon": "--optim muon --lr 0.24 --momentum 0.6 --head-lr 7 --bias-lr 44",
}
OTHERS = {  # of a resnet10
    "ema": "--ema 0.9",
    "flip-p": "--flip-p 0.3",
    "erase": "--erase-aug --erase-p 0.9 --erase-area-min 0.1 --erase-area-max 0.5 "
    "--erase-ratio-min 0.5 --erase-ratio-max 2",
    "whitening": "--whitening",
    "progressive": "--progressive -e 3",
    "label-smoothing": "--label-smoothing 0.1",
    "head-bias-lr": "--head-lr 2 --bias-lr 3",
    "tta": "--tta",
    "no-holdout-tta": "--tta --holdout 0 -e 1",
    "odd-batch": "--limit 37 -b 9",
    "multi-step": "-m 1 --sche-gamma 0.3",
    "t-max": "--sche cosine_annealing --sche-t-max 1",
    "one-cycle": "--sche one_cycle",
    "triangular": "--sche triangular",
    "linear": "--sche linear",
    "constant": "--sche constant --warmup 1",
    "pretrained": "--pretrained {precision}-resnet10-plain",
}
ACTIVATIONS = ("relu", "leaky_relu", "celu", "gelu", "silu", "elu", "mish")
OTHERS |= {f"norm-{n}": f"--norm {n}" for n in ("batch", "instance", "layer", "group")}
OTHERS |= {f"activation-{name}": f"--activation {name}" for name in ACTIVATIONS}
SPEED = ("seconds", "images_per_s")  # fields of a record that depend on the machine's load


def cases(only: list[str]) -> dict[str, list[str]]:
    """Run name → arguments of train.py, for runs whose name contains every text in `only`."""
    found = {}
    for precision in ("fp32", "bf16"):
        for arch, (narrow, wide) in FAMILIES.items():
            options = {**AUGMENTATIONS, **OPTIMIZERS, "wide": f"--width {wide} -e 1"}
            options |= OTHERS if arch == "resnet10" else {}
            for label, words in options.items():
                base = f"{COMMON} --arch {arch} --width {narrow} --precision {precision}"
                words = f"{base} {words.format(precision=precision)}"
                found[f"{precision}-{arch}-{label}"] = words.split()
    return {name: words for name, words in found.items() if all(text in name for text in only)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", help="commit to compare the working tree with")
    parser.add_argument("--only", action="append", default=[], help="part of a run's name")
    parser.add_argument("--train-into", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    chosen = cases(args.only)
    if not chosen:
        parser.error("no run matches --only")
    if args.train_into:  # in a child process; args.commit is the folder of its tree
        train_all(Path(args.commit), args.train_into, chosen)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trees = {"before": root / "tree", "after": REPOSITORY}
        unpack(args.commit, trees["before"])
        failed = run_children(trees, root, args.only)
        differing = 0
        for name in ("presets", *chosen):
            lines = differences(*(results(root / tree / name) for tree in trees))
            print(*(f"{name}: {line}\n" for line in lines), sep="", end="")
            differing += bool(lines)
    print(f"{len(chosen)} runs: {f'{differing} differ' if differing else 'all the same'}")
    return 1 if differing or failed else 0


def unpack(commit: str, folder: Path) -> None:
    """Extract the files of a commit to `folder`, outside the repository."""
    command = ["git", "-C", str(REPOSITORY), "archive", "--format=tar", commit]
    git = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    if git.returncode:
        sys.exit(2)  # git has printed the reason
    with tarfile.open(fileobj=io.BytesIO(git.stdout)) as tar:
        tar.extractall(folder, filter="data")


def run_children(trees: dict[str, Path], root: Path, only: list[str]) -> bool:
    """Train in both trees in parallel. Returns whether a process failed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    options, children = [word for text in only for word in ("--only", text)], []
    for name, tree in trees.items():
        words = [__file__, str(tree), "--train-into", str(root / name), *options]
        children.append(subprocess.Popen([sys.executable, *words], cwd=tree, env=environment))
    try:
        return any([child.wait() for child in children])
    finally:
        for child in children:
            child.kill()  # after Ctrl-C; no-op for a finished process


def train_all(tree: Path, folder: Path, chosen: dict[str, list[str]]) -> None:
    """In a child process: train every run with the code in `tree`, into `folder`."""
    sys.path[0] = str(tree)  # instead of this script's folder
    train = importlib.import_module("train")
    assert Path(train.__file__).parent == tree
    importlib.import_module("torch").set_num_threads(1)
    new_config = importlib.import_module("engine.config").RunConfig
    presets = importlib.import_module("engine.presets").PRESETS
    describe(folder / "presets", {name: preset.config() for name, preset in presets.items()})
    roots = ["--data-root", str(folder.parent / "data"), "--run-root", str(folder)]
    for number, (name, words) in enumerate(chosen.items(), start=1):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                code = train.main([*words, "--name", name, *roots])
            except SystemExit as error:  # a flag unknown in this tree
                code = error.code
        if number % 25 == 0:
            print(f"{folder.name}: {number} of {len(chosen)} runs", flush=True)
        if code == 0:
            stored = json.loads((folder / name / "config.json").read_text())
            fields = {key: stored[key] for key in new_config().to_dict()}
            describe(folder / name, {"run": new_config.from_dict(fields)})
        else:
            print(f"{folder.name}: {name}: exit code {code}:", *output.getvalue().splitlines()[-2:])


def describe(folder: Path, configs: dict) -> None:
    """Write settings, command line and share link of configs, with the code of this tree."""
    encode = importlib.import_module("pages.ui.choices").encode
    texts = {}
    for name, config in configs.items():
        for key, value in json.loads(config.to_json()).items():
            group = value if isinstance(value, dict) else {"": value}
            texts |= {f"{name} setting {key}.{k}".rstrip("."): v for k, v in group.items()}
        texts[f"{name} command"] = sorted(config.to_command(name).split(" --"))  # in any order
        texts[f"{name} link"] = json.loads(encode(config))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.json").write_text(json.dumps(texts))


def results(folder: Path) -> dict:
    """The results of a run: config, metrics and weights. Empty if it failed."""
    if not (folder / "texts.json").exists():  # written last
        return {}
    found = json.loads((folder / "texts.json").read_text())
    if folder.name == "presets":
        return found
    found |= metrics(folder / "metrics.jsonl")
    info = json.loads((folder / "config.json").read_text())["dataset_info"]
    found |= {f"config.json: {key}": info[key] for key in ("name", "classes", "mean", "std")}
    for path in folder.glob("*.safetensors"):  # best and last
        found |= {f"{path.name}: {key}": value for key, value in tensors(path).items()}
    return found


def metrics(path: Path) -> dict:
    """The records of metrics.jsonl, without fields that depend on the machine's load."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if key not in SPEED} for row in rows]
    return {f"{path.name}: line {number}": row for number, row in enumerate(kept, start=1)}


def tensors(path: Path) -> dict:
    """Name → (dtype, shape, bytes) of every tensor in a .safetensors file, and its metadata."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    found = {"metadata": header.pop("__metadata__", {})}
    for name, about in header.items():
        first, end = (start + offset for offset in about["data_offsets"])
        found[name] = (about["dtype"], about["shape"], content[first:end])
    return found


def differences(before: dict, after: dict) -> list[str]:
    """Differences between the results of two runs, one line each."""
    if not before or not after:
        return [f"failed {'before' if after else 'after' if before else 'in both'}"]
    lines = []
    for key in {**before, **after}:
        if key not in before and " setting " in key:
            continue  # a new setting, which has its default in the older tree's runs
        old, new = before.get(key, "absent"), after.get(key, "absent")
        if old != new and isinstance(old, tuple) and isinstance(new, tuple):
            lines.append(f"{key}: {distance(old, new)}")
        elif old != new:
            lines.append(f"{key}\n    before: {old}\n    after:  {new}")
    return lines


def distance(before: tuple, after: tuple) -> str:
    """Description of how two tensors differ."""
    if before[:2] != after[:2] or before[0] != "F32":
        return f"{before[:2]} before, {after[:2]} after"
    pairs = zip(*(array.array("f", values) for _, _, values in (before, after)), strict=True)
    gaps = [abs(old - new) for old, new in pairs]
    return f"{sum(map(bool, gaps))} of {len(gaps)} values differ, by up to {max(gaps):.3g}"


if __name__ == "__main__":
    sys.exit(main())
