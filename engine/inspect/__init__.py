"""Inspection of a trained network: where it errs, how sure it is, and what its answers rest on."""
