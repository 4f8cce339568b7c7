"""The metadata in front of a card, as YAML that every reader takes for the same.

Fields: https://github.com/huggingface/hub-docs/blob/main/modelcard.md. Texts are quoted, whatever
they look like: PyYAML reads YAML 1.1 (``no``, ``12:30:45``), the hub's JavaScript 1.2 (``1e5``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from qpipe.export.card.content import CardContent

MARK = "---"

# What begins with a letter is no number and no date in any YAML.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./+-]*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
# Methods that people look for by a tag on the hub.
_TAGS = ("gptq", "awq", "bnb", "autoround", "fp8", "nvfp4", "mxfp4", "int8", "exl2", "w4afp8")


def front_matter(content: CardContent) -> str:
    """Return the metadata between its marks, ending in a newline."""
    lines = [line for name, value in metadata(content).items() for line in _lines(name, value)]
    return "\n".join([MARK, *lines, MARK, ""])


def metadata(content: CardContent) -> dict[str, str | list[str]]:
    """Return the fields that are known, in the order in which they stand."""
    licence = content.licence
    fields: dict[str, Any] = {
        "base_model": content.base_model,
        "base_model_relation": "quantized" if content.base_model else None,
        "quantized_by": content.publishing.quantized_by,
        "license": licence.identifier,
        "license_name": licence.name if licence.identifier == "other" else None,
        "license_link": _link(content),
        "language": [*content.source.languages],
        "library_name": "gguf" if content.gguf else "transformers",
        "pipeline_tag": content.source.pipeline_tag or "text-generation",
        "tags": _tags(content),
    }
    return {name: value for name, value in fields.items() if value}


def _link(content: CardContent) -> str | None:
    """The text of a licence that the hub does not know: as the source links it, else its file."""
    licence = content.licence
    if licence.identifier != "other":
        return None
    texts = [path.name for path in content.source.texts]
    if licence.link and not licence.link.startswith("http") and licence.link not in texts:
        return texts[0] if texts else None
    return licence.link or (texts[0] if texts else None)


def _tags(content: CardContent) -> list[str]:
    tags = ["quantized", "qpipe"]
    if content.gguf:
        tags = ["gguf", "llama.cpp", *tags]
        tags += ["imatrix"] if any(model.imatrix for model in content.models) else []
    elif content.method in _TAGS:
        tags = [content.method, *tags]
    return [*tags, *(["conversational"] if content.prompt else [])]


def _lines(name: str, value: str | Sequence[str]) -> list[str]:
    if isinstance(value, str):
        return [f"{name}: {_scalar(value)}"]
    return [f"{name}:", *(f"- {_scalar(each)}" for each in value)]


def _scalar(text: str) -> str:
    """A text as it is where no reader could take it for anything else, quoted otherwise.

    A string of JSON is one of YAML, too, but for what JSON writes as it is: these are escaped.
    """
    if _PLAIN.fullmatch(text) and text.casefold() not in _WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else _escaped(ord(each)) for each in quoted)


def _escaped(number: int) -> str:
    """A character without a picture as YAML escapes it; half of one, which no file can hold, as
    what stands for it."""
    if 0xD800 <= number < 0xE000:
        number = 0xFFFD
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
