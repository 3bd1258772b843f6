"""Hyper layers: `(x, weights) -> y`."""
