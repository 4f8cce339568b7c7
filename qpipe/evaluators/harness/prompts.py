"""Messages as prompts, for every model that lm-eval asks: by the model's own chat template."""

from __future__ import annotations

from qpipe.hf.chat import Template


class Prompts:
    """A part of lm-eval's model interface; a subclass has the ``_template``."""

    @property
    def _template(self) -> Template:
        """The default chat template. Raises DataError where there is none."""
        raise NotImplementedError

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Messages as one prompt. Raises DataError if there is no template, or it fails."""
        if add_generation_prompt:
            return self._template.render(chat_history, add_generation_prompt=True)
        return self._template.render_open(chat_history)
