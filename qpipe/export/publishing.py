"""What is asked of a repository on the hub, and of its card, that no run knows."""

from __future__ import annotations

from dataclasses import dataclass

from qpipe.export.licences import Licence


@dataclass(frozen=True)
class Publishing:
    """Settings of a repository: ``repository`` is OWNER/NAME, if one is named. ``base_model``,
    ``licence`` and ``quantized_by`` take the place of what the source says. ``accepted``: the terms
    of the licence were read, whatever they are.

    ``upload``: the folder is sent there, as a ``private`` repository if it is new; with ``dry_run``
    it is only looked at what that would come to.
    """

    repository: str | None = None
    base_model: str | None = None
    quantized_by: str | None = None
    licence: Licence | None = None
    accepted: bool = False
    upload: bool = False
    private: bool = False
    dry_run: bool = False

    @property
    def online(self) -> bool:
        """True if the hub is asked."""
        return self.upload or self.dry_run
