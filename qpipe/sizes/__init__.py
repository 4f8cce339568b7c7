"""Sizes without weights: what a model takes in a format, from config.json and the format alone.

Nothing is downloaded, no weight is read, and neither torch nor transformers is imported.
"""

from __future__ import annotations

from qpipe.sizes.known import shapes
from qpipe.sizes.predict import predict
from qpipe.sizes.predicted import PredictedSize

__all__ = ["PredictedSize", "predict", "shapes"]
