"""Models whose matrices are stored as inputs × outputs."""

CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
"""Their model types. Source: transformers 5.17, pytorch_utils.py, ``Conv1D``."""
