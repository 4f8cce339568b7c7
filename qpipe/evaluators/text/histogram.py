"""How the KL divergence is spread over tokens, and over how sure the reference was of them."""

from __future__ import annotations

import itertools

import numpy as np

from qpipe.evaluators.text.interfaces import Nll
from qpipe.results.measurement import Bucket, Distribution

# Four bins for each power of ten. Below the first, what is stored of a reference is no exacter;
# above the last is hardly a token of any model that can be used.
EDGES = tuple(float(f"{10 ** (power / 4):.4g}") for power in range(-24, 7))

# Probabilities of the reference's likeliest token.
CONFIDENCES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1.0)


def distribution(kld: Nll, same_top: Nll, confidence: Nll) -> Distribution:
    """Count tokens by their divergence, and average it by the reference's ``confidence``.

    All arrays are [tokens]; ``same_top`` is 1 where both models have the same likeliest token.
    """
    bins = np.searchsorted(EDGES, kld, side="right")
    counts = np.bincount(bins, minlength=len(EDGES) + 1)
    # Rounding may bring a probability to a hair above 1.
    places = np.clip(np.searchsorted(CONFIDENCES, confidence, side="right") - 1, 0, None)
    places = np.minimum(places, len(CONFIDENCES) - 2)
    buckets = []
    for place, (low, high) in enumerate(itertools.pairwise(CONFIDENCES)):
        here = places == place
        if here.any():
            mean, same = float(kld[here].mean()), 100 * float(same_top[here].mean())
            buckets.append(Bucket(low, high, int(here.sum()), mean, same))
    return Distribution("kld", EDGES, tuple(map(int, counts)), tuple(buckets))
