"""Measuring on a text, for every metric that reads a model's logits: no model, any backend.

``protocols``      named ways to cut a text into windows, and to prepare it
``windows``        token ids in windows, and the artifact that holds them
``interfaces``     what a tokenizer and a loaded model offer
``token_scores``   one pass of a model over windows: values of each token
``distributions``  the next-token distributions of a reference, and the divergence from them
``reference``      the artifact of a reference
``statistics``     means, their standard errors, intervals for the whole text
``sampling``       when the windows that were read are enough
``rivals``         levels of a sweep that a larger one is compared with
``description``    the description of a measurement, and its scores by their names

All but ``protocols``, ``rivals`` and ``description`` import numpy: evaluators import them once
they measure.
"""
