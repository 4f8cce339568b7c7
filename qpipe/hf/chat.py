"""A model's chat template, rendered as transformers does, on a day that is given.

The same for checkpoints and GGUF files, for calibration and tasks, so that one prompt stands behind
one key: transformers' own rendering tells a template today's date.

Source: transformers, utils/chat_template_utils.py, `_compile_jinja_template` and
`render_jinja_template`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator

from qpipe.errors import DataError, EngineMissingError
from qpipe.support import extras

DATE = "2024-07-26"
"""The day where none is given: the one that Llama 3's templates name where they know no other."""

Message = Mapping[str, Any]
# Told apart from any text; the space shows whether a template trims what it is given.
_END = "QPIPE_END_OF_LAST_MESSAGE "


def is_day(text: str) -> str:
    """``text``, if it is a day such as 2026-11-27. Raises ValueError."""
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day: write it as {DATE}") from None
    return text


Day = Annotated[str, AfterValidator(is_day)]
"""A parameter that names a day."""


def require_template(day: str | None, chat_template: bool, *, block: str) -> None:
    """Raise ValueError for a day that nothing is told; ``block`` as in `Template`."""
    if day is not None and not chat_template:
        raise ValueError(
            f"{block}.date={day}: only chat templates are told a day; set {block}.chat_template to "
            "true, or leave it null"
        )


@dataclass(frozen=True)
class Template:
    """A chat template and what it is given beside messages.

    ``tokens`` are the special tokens' texts by name (bos_token, …), ``day`` is what strftime_now
    tells (None: `DATE`), ``block`` the part of a recipe in which chat_template is set, if there
    is one.
    """

    text: str
    tokens: Mapping[str, str]
    day: str | None = None
    block: str = field(default="evaluate", kw_only=True)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Any] | None = None,
    ) -> str:
        """The prompt.

        A template that refuses a system message is given the others, as HFLM does. Raises
        DataError for a template that fails or does not end, EngineMissingError without Jinja.
        """
        others = [message for message in messages if message.get("role") != "system"]
        settings = {"tools": tools, "add_generation_prompt": add_generation_prompt}
        try:
            return self.render_all(messages, **settings)
        except DataError:
            if len(others) == len(messages):
                raise
            return self.render_all(others, **settings)

    def render_all(self, messages: Sequence[Message], **settings: Any) -> str:
        """The prompt of all messages: none is left out where the template refuses one.

        ``settings`` are the names that templates know: add_generation_prompt, tools. Raises as
        `render` does.
        """
        fixed = {**self.tokens, "tools": None, "documents": None, "add_generation_prompt": False}
        return self._once(messages, fixed | settings)

    def render_open(self, messages: Sequence[Message]) -> str:
        """The prompt, its last message left open, to go on with. Raises DataError."""
        *before, last = messages
        text = self.render([*before, {**last, "content": f"{last['content']}{_END}"}])
        at = text.rfind(_END.strip())
        if at < 0:
            raise DataError(
                "the model's chat template changes the last message, so that nothing can be put "
                f"behind it{self._advice}"
            )
        return text[:at] if text[at : at + len(_END)] == _END else text[:at].rstrip()

    @property
    def _advice(self) -> str:
        return f"; set {self.block}.chat_template to false" if self.block else ""

    @cached_property
    def _compiled(self) -> Callable[..., str]:
        from qpipe.hf.sandbox import compiled

        day = datetime.fromisoformat(self.day or DATE)
        return compiled(
            self.text,
            filters={"tojson": _to_json},
            # transformers 5.17 tells templates today's date: a key would stand for no one prompt.
            names={"raise_exception": _refuse, "strftime_now": day.strftime},
        )

    def _once(self, messages: Sequence[Message], settings: Mapping[str, Any]) -> str:
        try:
            import jinja2
        except ImportError:
            raise EngineMissingError(
                f"chat templates need Jinja, which is not installed: {extras.command('hf')}"
            ) from None
        try:
            return self._compiled(messages=list(messages), **settings)
        # What else an expression of the template's can raise.
        except (
            jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError,
            AttributeError, RecursionError,
        ) as error:  # fmt: skip
            raise DataError(
                "the model's chat template cannot be used: "
                f"{error or type(error).__name__}{self._advice}"
            ) from None


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)
