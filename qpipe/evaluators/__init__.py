"""Measurements of models, one evaluator a file; qpipe/stages/registry.py finds them by file."""
