"""Where a stage computes: on the CPU, or on an NVIDIA GPU through CUDA.

``device: auto`` is settled when a recipe becomes a plan, by the GPUs that may be used there: what a
node holds is ``cuda``, or nothing for the CPU, so that nodes on a CPU have the keys that they had
before there was a choice. No worker chooses for itself.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import Field, field_validator

from qpipe.stages.base import Params, UnkeyedDefault

Device: TypeAlias = Literal["cpu", "cuda"]

CPU: Device = "cpu"
CUDA: Device = "cuda"
AUTO = "auto"

_P = TypeVar("_P", bound=Params)


class DeviceParams(Params):
    """The setting ``device``, for stages that compute with tensors.

    ``DEVICES`` are those on which the tool works; a stage with one alone says in ``ALONE`` why, and
    what to do instead.
    """

    DEVICES: ClassVar[tuple[Device, ...]] = (CPU, CUDA)
    ALONE: ClassVar[str] = ""

    device: Annotated[Literal["auto", "cuda", "cpu"], UnkeyedDefault()] = Field(
        "auto",
        description=(
            "Where it computes: cuda, an NVIDIA GPU, which it then books, or cpu. auto: cuda where "
            "the tool can and a GPU may be used."
        ),
    )

    @field_validator("device")
    @classmethod
    def _works_there(cls, device: str) -> str:
        if device not in (AUTO, *cls.DEVICES):
            raise ValueError(f"device={device}: {cls.ALONE}")
        return device

    @property
    def takes_a_gpu(self) -> bool:
        """True if ``auto`` is cuda where a GPU may be used."""
        return True

    @property
    def computes_on(self) -> Device:
        """The device of a settled stage."""
        if len(self.DEVICES) == 1:
            return self.DEVICES[0]
        return CUDA if self.device == CUDA else CPU

    @property
    def gpus(self) -> int:
        """The number of GPUs that it books."""
        return 1 if self.computes_on == CUDA else 0


def computes_on(params: Params) -> Device:
    """Return the device of a settled stage of any kind: the CPU for one that has no choice."""
    return params.computes_on if isinstance(params, DeviceParams) else CPU


def settle(params: _P, *, gpus: int, booked: int | None) -> _P:
    """Return ``params`` with the device that ``auto`` stands for where ``gpus`` may be used.

    ``booked`` is how many the recipe books for the stage by itself (``resources.gpus``), None if
    that is left to the stage; it chooses for ``auto``. What a tool has no choice about, and the
    CPU, stay ``auto``, which is in no key. Raises ValueError where both contradict each other.
    """
    if not isinstance(params, DeviceParams):
        return params
    wanted = None if params.device == AUTO else params.device
    if len(params.DEVICES) == 1:
        (wanted,) = params.DEVICES
    if booked is not None:
        _agree(params, wanted, booked)
        wanted = wanted or (CUDA if booked else CPU)
    device = wanted or (CUDA if gpus and params.takes_a_gpu else CPU)
    keyed = device == CUDA and len(params.DEVICES) > 1
    return params.model_copy(update={"device": CUDA if keyed else AUTO})


def _agree(params: DeviceParams, wanted: str | None, booked: int) -> None:
    if wanted == CUDA and not booked:
        why = f"device={CUDA}" if params.device == CUDA else params.ALONE
        raise ValueError(f"resources.gpus=0 books no GPU, and {why}; leave resources.gpus out")
    if wanted == CPU and booked and CUDA in params.DEVICES:
        raise ValueError(
            f"resources.gpus={booked} books what device={CPU} does not use; keep one of them"
        )
