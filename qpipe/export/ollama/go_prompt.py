"""A conversation as Ollama gives it to a Go template.

Source: Ollama, template/template.go, ``collate`` and ``Execute``; server/routes.go (``m.System``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qpipe.export.ollama.go_template import execute

Conversation = Sequence[Mapping[str, str]]
"""Messages, each with ``role`` and ``content``."""


def prompt(template: str, messages: Conversation, system: str = "") -> str:
    """Return the prompt that Ollama makes of messages; ``system`` is the Modelfile's, told to the
    model where they do not begin with one. Raises GoTemplateError."""
    asked = list(messages)
    if system and asked and asked[0]["role"] != "system":
        asked.insert(0, {"role": "system", "content": system})
    spoken = [each["content"] for each in asked if each["role"] == "system"]
    return execute(
        template,
        {
            "System": "\n\n".join(spoken),
            "Messages": [
                {"Role": each["role"], "Content": each["content"]} for each in collated(asked)
            ],
            "Response": "",
        },
    )


def collated(messages: Conversation) -> list[Mapping[str, str]]:
    """Return messages, those of one role in a row put together."""
    together: list[Mapping[str, str]] = []
    for each in messages:
        if together and together[-1]["role"] == each["role"]:
            last = together.pop()
            each = {**last, "content": f"{last['content']}\n\n{each['content']}"}
        together.append(each)
    return together
