"""Requests of lm-eval to a GGUF file, as tokens; a subclass has what computes them."""

from __future__ import annotations

from qpipe.evaluators.harness.prompts import GgufPrompts
from qpipe.evaluators.harness.token_requests import TokenRequests


class GgufRequests(GgufPrompts, TokenRequests):
    """lm-eval's model interface on one GGUF file; a context manager.

    A subclass sets ``max_length``, the tokens that the model's context holds, and calls
    `read_vocabulary`.
    """
