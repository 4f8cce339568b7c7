"""An example of a model's prompt, by its own chat template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpipe.errors import QpipeError
from qpipe.export.model import ExportedModel
from qpipe.hf.chat import Template

_MESSAGES = (
    {"role": "system", "content": "{system}"},
    {"role": "user", "content": "{prompt}"},
)
_TEMPLATE = "tokenizer.chat_template"
_TOKENS = "tokenizer.ggml.tokens"
_SPECIAL = ("bos", "eos")
_LONGEST = 4000


def example(model: ExportedModel) -> str | None:
    """Return the prompt for ``{system}`` and ``{prompt}``; None for a model without a template.

    Raises DataError for a template that cannot be rendered, EngineMissingError without Jinja.
    """
    template = _template(model)
    if template is None:
        return None
    text = template.render(_MESSAGES, add_generation_prompt=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _template(model: ExportedModel) -> Template | None:
    return _of_checkpoint(model.artifact.path) if model.gguf is None else _of_gguf(model.gguf)


def _of_gguf(path: Path) -> Template | None:
    from qpipe.gguf import split

    file = split.read(path)
    if _TEMPLATE not in file.metadata:
        return None
    numbers = {
        name: file.value(f"tokenizer.ggml.{name}_token_id")
        for name in _SPECIAL
        if f"tokenizer.ggml.{name}_token_id" in file.metadata
    }
    tokens: Any = file.value(_TOKENS) if numbers and _TOKENS in file.metadata else []
    names = {
        f"{name}_token": str(tokens[number])
        for name, number in numbers.items()
        if isinstance(number, int) and 0 <= number < len(tokens)
    }
    text = file.value(_TEMPLATE)
    return Template(text, names) if isinstance(text, str) else None


def _of_checkpoint(folder: Path) -> Template | None:
    from qpipe.gguf import jsonfile

    config: Mapping[str, Any] = {}
    if (settings := folder / "tokenizer_config.json").is_file():
        config = jsonfile.load(settings)
    names = {
        f"{name}_token": text
        for name in _SPECIAL
        if (text := _content(config.get(f"{name}_token"))) is not None
    }
    template = _text_of(folder, config)
    return None if template is None else Template(template, names)


def _text_of(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The default template of a checkpoint: a file of its own, or in the tokenizer's settings."""
    if (file := folder / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    text = config.get("chat_template")
    if isinstance(text, list):
        named = [each for each in text if isinstance(each, dict) and each.get("name") == "default"]
        text = named[0].get("template") if named else None
    return text if isinstance(text, str) else None


def _content(token: Any) -> str | None:
    """The text of a special token, which may be an object with more."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def explained(model: ExportedModel) -> tuple[str | None, str | None]:
    """Return the example, or None with the reason why there is none to show."""
    try:
        return example(model), None
    except QpipeError as error:
        return None, str(error)
