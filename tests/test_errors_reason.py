"""Reasons of other libraries' exceptions."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from qpipe.errors import reason


class Arguments(BaseModel):
    actorder: str

    @field_validator("actorder")
    @classmethod
    def _still_there(cls, given: str) -> str:
        raise ValueError(f"{given} has been removed")


def test_the_reason_of_a_validation_is_kept() -> None:
    with pytest.raises(ValidationError) as caught:
        Arguments(actorder="group")
    assert reason(caught.value) == "actorder: Value error, group has been removed"
    assert reason(KeyError("a")) == "'a'"
