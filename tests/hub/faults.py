"""What can go wrong with an answer of the hub, and when it is to go wrong."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Status:
    """Another status in place of the answer, such as 429 with ``Retry-After``, or 503."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Cut:
    """The connection ends ``after`` so many bytes of the body: closed, or with ``reset`` as a
    router does that lost its state."""

    after: int
    reset: bool = False


@dataclass(frozen=True)
class Stall:
    """After so many bytes of the body nothing comes for so many seconds."""

    after: int
    seconds: float


@dataclass(frozen=True)
class Damaged:
    """Zeros in place of the last ``count`` bytes of the file; the length is right."""

    count: int = 8


@dataclass(frozen=True)
class Short:
    """The last ``count`` bytes of the file are missing, and the length says so too."""

    count: int = 8


Fault: TypeAlias = "Status | Cut | Stall | Damaged | Short"


@dataclass
class _Planned:
    where: str
    fault: Fault
    left: int | None
    method: str
    ranged: bool


class Faults:
    """The faults still to come, the first that fits an answer taken first."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()

    def __call__(
        self,
        where: str,
        fault: Fault,
        *,
        times: int | None = 1,
        method: str = "",
        ranged: bool = False,
    ) -> None:
        """Have requests whose path holds ``where`` go wrong, ``times`` times (None: always).

        One of a body waits for a request that is answered with one; ``ranged``: for one that asks
        for a part.
        """
        with self._lock:
            self._planned.append(_Planned(where, fault, times, method, ranged))

    def clear(self) -> None:
        """From now on all goes well."""
        with self._lock:
            self._planned.clear()

    def take(self, method: str, path: str, *, body: bool, ranged: bool = False) -> Fault | None:
        """The fault of this answer, one of a ``body`` or a status; used up by it."""
        with self._lock:
            for one in self._planned:
                fits = one.where in path and one.method in ("", method)
                fits = fits and one.ranged <= ranged
                if fits and one.left != 0 and isinstance(one.fault, Status) is not body:
                    if one.left is not None:
                        one.left -= 1
                    return one.fault
        return None
