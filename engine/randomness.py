"""Keyed randomness: every random choice of a run is a function of a key, never of a stream.

Nothing here touches the global generator, which all threads of a process share.
"""

from enum import IntEnum

import numpy as np
import torch

_WORD = 0xFFFFFFFF


class Purpose(IntEnum):
    """What a generator is drawn for: the second part of a key, so that two uses never share one.

    Numbers are part of a run's reproducibility: append, never renumber.
    """

    PERMUTATION = 1
    AUGMENT = 2
    SPLIT = 3
    SHAPES = 4
    FLIP = 5
    WHITENING = 6
    SAMPLE = 7


def keyed_generator(*key: int) -> torch.Generator:
    """CPU generator that depends on the key alone, e.g. `(seed, purpose, epoch, step)`.

    Each part is from 0 to 2^64 - 1; ValueError otherwise. (1,), (1, 0) and (0, 1) are
    different keys.
    """
    # SeedSequence pads with zeros, so the length goes in too; and it splits large integers
    # into a varying number of 32-bit words, so each part gets exactly two.
    words = [len(key)]
    for part in key:
        if not 0 <= part < 2**64:
            raise ValueError(f"the parts of a random key go from 0 to 2^64 - 1, not {part}")
        words += [part & _WORD, part >> 32]
    state = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state)
