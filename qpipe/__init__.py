"""qpipe: declarative quantization of language models, from a recipe to a compared set of models."""

__version__ = "0.1.0"
