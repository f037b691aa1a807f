"""Write the costs of every architecture, which the Train page compares.

    python scripts/write_costs.py

At width 1, with the architecture's own layers and 10 classes. Run it after a change to a network;
tests/engine/test_estimate.py compares the file with the networks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.estimate import COSTS, costs
from engine.models import ARCHITECTURES, build_on_meta


def main() -> None:
    rows = {}
    for arch in ARCHITECTURES:
        network = build_on_meta(arch)
        rows[arch] = [sum(p.numel() for p in network.parameters()), *costs(network)]
    lines = ",\n".join(f"  {json.dumps(arch)}: {json.dumps(row)}" for arch, row in rows.items())
    COSTS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
