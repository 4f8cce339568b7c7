"""Results with a type: scores, what they were measured on and by, models, and their comparison.

Standard library only. Evaluators return a `Measurement`, engines `ModelFacts`; facts.py alone turns
them into the facts of a manifest and back, fields.py alone names the fields of a table, record.py
alone writes and reads run.json, which ``run.schema.json`` beside it describes.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpipe.results.comparison import SCHEMA, Comparison, ModelRow
    from qpipe.results.measurement import Evaluation, Measurement, Subject
    from qpipe.results.model import ModelFacts
    from qpipe.results.sampling import Rival, Sampling
    from qpipe.results.scores import Declaration, Difference, Score, score, standard

# Name → the module that has it, imported once it is asked for: `qpipe report` needs few of them.
_PUBLIC = {
    **dict.fromkeys(("SCHEMA", "Comparison", "ModelRow"), "comparison"),
    **dict.fromkeys(("Evaluation", "Measurement", "Subject"), "measurement"),
    "ModelFacts": "model",
    **dict.fromkeys(("Rival", "Sampling"), "sampling"),
    **dict.fromkeys(("Declaration", "Difference", "Score", "score", "standard"), "scores"),
}

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


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    from importlib import import_module

    if name not in _PUBLIC:
        raise AttributeError(f"module 'qpipe.results' has no attribute {name!r}")
    value: object = getattr(import_module(f"qpipe.results.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value
