"""Time the training step of an older commit and of this working tree, alternately.

    python scripts/compare_speed.py main~10

For refactorings, which must not make a network slower. For each network, one process per tree
stays alive and both take turns, a few steps each: a machine whose speed changes from minute to
minute changes it for both. Prints the speed of the working tree as a ratio to that of the commit:
median and range over the rounds, and of the fastest turn of each, which other processes disturb
least. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare_training import REPOSITORY, unpack

NETWORKS = (
    *("resnet18", "resnet34", "wideresnet14", "resnext18", "densenet121"),
    *("vgg16", "convmixer256d16", "speedrun"),
)
# Runs in a child process: argv holds the tree, the network and the precision. Step takes the name
# of a network in older trees, a config in newer ones.
CHILD = """
import sys, time
tree, arch, precision = sys.argv[1:]
sys.path.insert(0, tree)
from bench import throughput
from engine import allocator
with allocator.kept_blocks():
    if hasattr(throughput, "config_of"):
        step = throughput.Step(throughput.config_of(128, arch), precision)
    else:
        step = throughput.Step(arch, 128, precision)
    for line in sys.stdin:
        begin = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - begin, flush=True)
"""


class Child:
    """A process that performs training steps on request."""

    def __init__(self, tree: Path, arch: str, precision: str):
        command = [sys.executable, "-c", CHILD, str(tree), arch, precision]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=tree)

    def seconds(self, steps: int) -> float:
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(
    before: Path, arch: str, precision: str, rounds: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Seconds of each turn: of the tree `before`, of the working tree."""
    pair = [Child(before, arch, precision), Child(REPOSITORY, arch, precision)]
    for child in pair:
        child.seconds(4)  # steps in which memory is still allocated
    steps = max(1, round(seconds / pair[0].seconds(1)))
    turns = {child: [] for child in pair}
    for index in range(rounds):
        for child in pair if index % 2 else pair[::-1]:
            turns[child].append(child.seconds(steps))
    for child in pair:
        child.close()
    return turns[pair[0]], turns[pair[1]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", help="commit to compare the working tree with")
    parser.add_argument("--arch", nargs="+", default=NETWORKS, help="networks (default: all)")
    parser.add_argument("--precision", default="auto", help="precision (default: auto)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each tree (default: 9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn (default: 1)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder)
        unpack(args.commit, before)
        for arch in args.arch:
            old, new = compare(before, arch, args.precision, args.rounds, args.seconds)
            ratios = [a / b for a, b in zip(old, new, strict=True)]
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            print(
                f"{arch:16} {statistics.median(ratios):.3f} times ({spread}), "
                f"fastest {min(old) / min(new):.3f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
