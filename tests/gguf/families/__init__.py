"""Families of models, of each a small random checkpoint: converted natively, by llama.cpp's
converter, and loaded by llama.cpp."""
