"""Parameters of what is read from a calibration text, which stages that read one share."""

from __future__ import annotations

from pydantic import Field, model_validator

from qpipe.hf.chat import Day, require_template
from qpipe.stages import base


class RecordParams(base.Params):
    """The part of a record that is read."""

    field: str | None = Field(
        None,
        description=(
            "The field of a record that holds its text or messages. null: text, content or "
            "messages, whichever it has."
        ),
    )


class TextParams(RecordParams):
    """Documents, plain or in a chat template."""

    chat_template: bool = Field(
        False,
        description=(
            "true: put messages, or a text as a user's, into the model's own chat template."
        ),
    )
    date: Day | None = Field(
        None,
        description=(
            "The day that a chat template is told, as 2024-07-26, which is also what null stands "
            "for."
        ),
    )

    @model_validator(mode="after")
    def _day_has_an_effect(self) -> TextParams:
        require_template(self.date, self.chat_template, block="calibration")
        return self
