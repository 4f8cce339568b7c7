"""Errors of sources in the words of whoever attests: they name options, and no fields of a
recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from qpipe.errors import StageError

# What there is no option for: weights are read from safetensors and GGUF alone.
_NO_PICKLE = re.compile(r"(?<=: )(give safetensors), or set model\.allow_pickle=.*", re.DOTALL)
_SET_PICKLE = re.compile(r"set model\.allow_pickle=.*?; or (?=give)", re.DOTALL)
# A command of `qpipe run`, which keeps its words.
_RUN = re.compile(r"(?P<before>to make one: )(?P<words>model\.source=)")


@contextmanager
def in_words_of(option: str) -> Iterator[None]:
    """Say ``option`` where an error within the block says ``model.source``."""
    try:
        yield
    except StageError as error:
        words = _worded(str(error), option)
        if words == str(error):
            raise
        raise type(error)(words) from error


def _worded(words: str, option: str) -> str:
    words = _NO_PICKLE.sub(r"\1", _SET_PICKLE.sub("", words))
    words = _RUN.sub(r"\g<before>qpipe run local MODEL.SOURCE=", words)
    words = words.replace("model.source=", f"{option} ").replace("model.source", option)
    words = words.replace("model.revision", "the revision behind @")
    return words.replace("MODEL.SOURCE=", "model.source=")
