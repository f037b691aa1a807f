"""Keyed random generators: every random draw of a run is a function of a key.

The global generator, which all threads of a process share, is neither read nor written.
"""

from enum import IntEnum

import numpy as np
import torch

_WORD = 0xFFFFFFFF


class Purpose(IntEnum):
    """Second part of a key, so that no two uses of randomness share a generator.

    Append, never renumber: the numbers determine the draws of existing runs.
    """

    PERMUTATION = 1
    AUGMENT = 2
    SPLIT = 3
    SHAPES = 4
    FLIP = 5
    WHITENING = 6
    SAMPLE = 7
    CLASSIFIER = 8
    CORRUPTION = 9


def keyed_generator(*key: int) -> torch.Generator:
    """A CPU generator seeded by `key` alone, e.g. (seed, purpose, epoch, step).

    Keys of different lengths or orders, such as (1,), (1, 0) and (0, 1), are different. Raises
    ValueError unless each part is from 0 to 2^64 - 1.
    """
    # SeedSequence pads with zeros and splits large integers into a varying number of 32-bit
    # words. With the length first and two words per part, different keys stay different.
    words = [len(key)]
    for part in key:
        if not 0 <= part < 2**64:
            raise ValueError(f"each part of a random key must be from 0 to 2^64 - 1, not {part}")
        words += [part & _WORD, part >> 32]
    state = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state)
