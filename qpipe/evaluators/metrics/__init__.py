"""Arithmetic on tokens and logits: no model, no files, any backend.

``windows``  a text's tokens cut as a protocol says
``backend``  what a source of tokens and logits must offer
``scores``   log-probabilities from logits, perplexity from log-probabilities

Needs numpy; the modules of ``qpipe.evaluators`` import these only when they measure.
"""
