"""Benchmarks against other tools, run by `make bench`; never part of the tests."""
