"""What a mix has to keep: bytes, bits per weight, or a KL divergence."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from qpipe.errors import UsageError
from qpipe.stages.base import Params
from qpipe.support.quantities import parse_size


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value, option="size")
    except UsageError as error:
        raise ValueError(str(error)) from None


Size = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]


class MixTarget(Params):
    """Bounds that a file has to keep, all of those that are given.

    Without ``kld`` the mix that loses least within the others is taken; with it the smallest that
    is within all.
    """

    size: Size | None = Field(None, description="Bytes of the whole file, at most: 3.5GB.")
    bpw: float | None = Field(None, gt=0, description="Bits per weight, of all tensors, at most.")
    kld: float | None = Field(
        None, gt=0, description="Mean KL divergence from the unquantized model, at most, in nats."
    )
    memory: Size | None = Field(None, description="Not supported yet: memory at run time.")
    ctx: int | None = Field(None, gt=0, description="Not supported yet: tokens of context.")

    @model_validator(mode="after")
    def _can_be_kept(self) -> Any:
        if self.memory is not None or self.ctx is not None:
            raise ValueError(
                "memory and ctx are not supported yet: what a context takes hangs on the runtime; "
                "take it off the memory yourself, and give the rest as size"
            )
        if self.size is None and self.bpw is None and self.kld is None:
            raise ValueError("a target needs one of {size: 3.5GB}, {bpw: 4.25} and {kld: 0.01}")
        return self

    @property
    def words(self) -> str:
        """It in a few words: size 3,500,000,000 bytes."""
        parts = [
            *([f"size {self.size:,} bytes"] if self.size is not None else []),
            *([f"{self.bpw:g} bits per weight"] if self.bpw is not None else []),
            *([f"kld {self.kld:g}"] if self.kld is not None else []),
        ]
        return " and ".join(parts)
