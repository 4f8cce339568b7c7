"""Modules that evaluators of all kinds share: the backends that compute, and parameters."""
