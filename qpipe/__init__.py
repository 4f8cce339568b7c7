"""qpipe: declarative quantization of language models, from a recipe to a compared set of models.

What Python can use is below, imported when it is first asked for; docs/python.md shows how.
"""

__version__ = "0.1.0"

# Name → the module that has it. `__init__.pyi` beside this file tells type checkers.
_PUBLIC = {
    "Comparison": "qpipe.results.comparison",
    "QpipeError": "qpipe.errors",
    "Reproduction": "qpipe.published.reproduction",
    "RunPlan": "qpipe.session.forecasts",
    "Session": "qpipe.session.session",
    "Store": "qpipe.session.store",
    "advise": "qpipe.session.advising.function",
    "attest": "qpipe.session.attesting.function",
    "check": "qpipe.session.check",
    "convert": "qpipe.session.functions",
    "estimate": "qpipe.session.estimating.function",
    "inspect": "qpipe.session.functions",
    "load": "qpipe.session.session",
    "open_run": "qpipe.session.session",
    "perplexity": "qpipe.session.functions",
    "quantize": "qpipe.session.functions",
    "repro": "qpipe.session.reproducing.function",
}

__all__ = ["__version__", "errors", *_PUBLIC]


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    from importlib import import_module

    if name == "errors":
        return import_module("qpipe.errors")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'qpipe' has no attribute {name!r}")
    value: object = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
