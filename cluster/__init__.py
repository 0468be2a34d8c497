"""Operate it: command line, composition, deleter, benchmarks."""
