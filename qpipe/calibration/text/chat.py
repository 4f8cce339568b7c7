"""Documents in a model's own chat template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from qpipe.calibration.text.documents import Document
from qpipe.errors import DataError
from qpipe.hf.chat import Template


def in_template(
    documents: Iterable[Document],
    template: str | None,
    tokens: Mapping[str, str],
    *,
    day: str | None,
) -> Iterator[str]:
    """Each as the model is given it; a text is what a user says.

    ``tokens`` and ``day`` as in `Template`. Raises DataError if there is no template, or it fails.
    """
    if template is None:
        raise DataError(
            "calibration.chat_template: the model has no chat template; set it to false"
        )
    chat = Template(template, tokens, day, block="calibration")
    for document in documents:
        messages = document.messages or [{"role": "user", "content": document.text}]
        yield chat.render(messages, tools=document.tools)
