"""Benchmarks: each prints ratios against a baseline that it measures in the same run."""
