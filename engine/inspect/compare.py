"""Two networks on the same images: where they differ, and whether the difference is chance."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binomtest
from torch import Tensor

SIGNIFICANT = 0.05  # p-value below which a difference is called shown


@dataclass(frozen=True)
class Comparison:
    """Numbers of images by which network, A or B, is right."""

    both_right: int
    only_a: int
    only_b: int
    both_wrong: int
    p_value: float  # of McNemar's exact test

    def sentence(self, a: str = "A", b: str = "B") -> str:
        """The result in words. It is about these two networks, not about their recipes."""
        p = f"p = {self.p_value:.2g}" if self.p_value >= 0.001 else "p < 0.001"
        counts = f"{a} is right where {b} is wrong on {_images(self.only_a)}, the reverse on "
        if self.p_value >= SIGNIFICANT:
            verdict = "no difference shown on these pictures"
        else:
            verdict = f"{a if self.only_a > self.only_b else b} is better on these pictures"
        return f"{counts}{self.only_b:,}: {verdict}, {p}"


def compare(labels: Tensor, predicted_a: Tensor, predicted_b: Tensor) -> Comparison:
    """Compare two networks' predictions for the same images; each int64 [N].

    McNemar 1947: among the images on which exactly one network is right, each is equally likely to
    be the one if they are equally good. The exact, two-sided binomial test.
    """
    a, b = predicted_a == labels, predicted_b == labels
    counts = [int(each.sum()) for each in (a & b, a & ~b, ~a & b, ~a & ~b)]
    only_a, only_b = counts[1:3]
    p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return Comparison(*counts, p_value=float(p))


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
