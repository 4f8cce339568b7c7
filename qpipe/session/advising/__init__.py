"""Advice: which format, engine and command for a model, a machine and a need."""
