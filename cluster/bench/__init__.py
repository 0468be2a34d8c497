"""Benchmarks: ratios with both sides in one run."""
