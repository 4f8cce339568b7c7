"""Results with a type: scores, what they were measured on and by, models, and their comparison.

Standard library only. Evaluators return a `Measurement`, engines `ModelFacts`; facts.py alone turns
them into the facts of a manifest and back, fields.py alone names the fields of a table, record.py
alone writes and reads run.json, which ``run.schema.json`` beside it describes.
"""

from qpipe.results.comparison import SCHEMA, Comparison, ModelRow
from qpipe.results.measurement import Evaluation, Measurement, Rival, Sampling, Subject
from qpipe.results.model import ModelFacts
from qpipe.results.scores import Declaration, Difference, Score, score, standard

__all__ = [
    "SCHEMA",
    "Comparison",
    "Declaration",
    "Difference",
    "Evaluation",
    "Measurement",
    "ModelFacts",
    "ModelRow",
    "Rival",
    "Sampling",
    "Score",
    "Subject",
    "score",
    "standard",
]
