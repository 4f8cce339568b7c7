"""What `qpipe attest` answers, as values and as JSON-ready data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from qpipe.core.key import Json
from qpipe.gguf.attest.metadata import MetadataComparison as MetadataComparison
from qpipe.gguf.attest.verdicts import TensorVerdict as TensorVerdict
from qpipe.gguf.attest.verdicts import other_source
from qpipe.gguf.attest.ways import Way as Way

DIFFERS, UNDECIDED = 4, 6


@dataclass(frozen=True)
class PublishedPart:
    """One of the files of a model: name, bytes, SHA-256 (hex). ``stray_bytes`` are of no tensor,
    and no padding; None where the file cannot be read, or has a tensor of an unknown type."""

    name: str
    size_bytes: int
    sha256: str
    stray_bytes: int | None = None


@dataclass(frozen=True)
class UsedImatrix:
    """The importance matrix that a file notes (``noted``), the ``path`` of the one that was at
    hand, why there was none (``problem``), and what of it contradicts the note."""

    noted: str | None
    path: str | None
    problem: str | None
    mismatch: str | None = None


@dataclass(frozen=True)
class AttestedFile:
    """A published file: its parts, its quantization name, the way that explains most tensors, a
    verdict on each, and its metadata beside the source's; or the ``problem`` with it alone."""

    name: str
    parts: Sequence[PublishedPart]
    type: str | None = None
    way: Way | None = None
    imatrix: UsedImatrix | None = None
    tensors: Sequence[TensorVerdict] = ()
    metadata: MetadataComparison | None = None
    problem: str | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of tensors of each verdict."""
        return Counter(tensor.status for tensor in self.tensors)

    @property
    def identical(self) -> bool:
        """True if all tensors are, and there are none too many or too few."""
        return self.problem is None and self.counts == {"identical": len(self.tensors)}

    @property
    def undecided(self) -> bool:
        """True if no tensor is known to differ, and some could not be compared."""
        return (
            self.problem is None
            and not self.identical
            and not self.counts.keys() - {"identical", "not_comparable"}
        )

    @property
    def other_source(self) -> bool:
        """True if it is probably not made from this source."""
        return other_source(self.tensors)

    def record(self) -> dict[str, Json]:
        """Return it as JSON-ready data, without its tensors."""
        way, metadata = self.way, self.metadata
        return {
            "file": self.name,
            "parts": [vars(part) for part in self.parts],
            "type": self.type,
            "identical": self.identical,
            "problem": self.problem,
            "way": None if way is None else way_record(way),
            "imatrix": None if self.imatrix is None else dict(vars(self.imatrix)),
            "counts": dict(self.counts),
            "other_source": self.other_source,
            "metadata": None if metadata is None else asdict(metadata),
        }


def way_record(way: Way) -> dict[str, Json]:
    """Return a way as JSON-ready data."""
    return {"via": way.via.name, "imatrix": way.weighted, "scales": way.scales}


@dataclass(frozen=True)
class Attestation:
    """Published files beside their ``source``, as that was pinned."""

    source: Mapping[str, Json]
    files: Sequence[AttestedFile]

    @property
    def identical(self) -> bool:
        """True if all tensors of all files are what the source gives."""
        return all(file.identical for file in self.files)

    @property
    def exit_code(self) -> int:
        """0 if all are identical, 6 if some could not be compared and none differs, else 4."""
        if self.identical:
            return 0
        decided = any(not file.identical and not file.undecided for file in self.files)
        return DIFFERS if decided else UNDECIDED

    def record(self) -> dict[str, Json]:
        """Return it as JSON-ready data."""
        tensors: list[Json] = [
            {"file": file.name, **_tensor(tensor)} for file in self.files for tensor in file.tensors
        ]
        return {
            "identical": self.identical,
            "source": dict(self.source),
            "files": [file.record() for file in self.files],
            "tensors": tensors,
        }


def _tensor(tensor: TensorVerdict) -> dict[str, Json]:
    """A verdict; what is not known of it is left out."""
    known = {name: value for name, value in vars(tensor).items() if value is not None}
    if tensor.instead is not None:
        known["instead"] = way_record(tensor.instead)
    return known
