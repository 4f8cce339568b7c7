"""A model's chat template, rendered as transformers does: in Jinja's sandbox, for it is not ours.

Source of the settings: transformers, utils/chat_template_utils.py, `_compile_jinja_template`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qpipe.errors import DataError


def render(
    template: str,
    messages: Sequence[dict[str, str]],
    *,
    add_generation_prompt: bool,
    bos_token: str,
    eos_token: str,
) -> str:
    """The prompt. With ``add_generation_prompt`` false the last message is left open, to go on.

    A template that refuses a system message is given the others, as HFLM does. Raises DataError.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    settings = {
        "add_generation_prompt": add_generation_prompt,
        "bos_token": bos_token,
        "eos_token": eos_token,
    }
    try:
        compiled = environment.from_string(template)
        try:
            text = compiled.render(messages=list(messages), **settings)
        except jinja2.TemplateError:
            messages = [message for message in messages if message["role"] != "system"]
            text = compiled.render(messages=messages, **settings)
    except jinja2.TemplateError as error:
        raise DataError(
            f"the model's chat template cannot be used: {error}; set evaluate.chat_template to "
            "false"
        ) from None
    return text if add_generation_prompt else _open(text, messages[-1]["content"])


def _open(text: str, last: str) -> str:
    """Without what the template puts after the last message."""
    before, found, _ = text.rpartition(last.strip())
    if not found:
        raise DataError(
            "the model's chat template changes the last message, so that nothing can be put behind "
            "it: set evaluate.chat_template to false"
        )
    return before + found


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
