"""Texts that a quantization is fitted to: reading them, cutting them into samples, their faults."""
