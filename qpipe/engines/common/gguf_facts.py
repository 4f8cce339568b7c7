"""Facts of a GGUF file: of one that is there, or that is about to be written or was."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.key import bytes_sha256, encode
from qpipe.results import tensors
from qpipe.results.model import ModelFacts
from qpipe.results.tensors import TensorDetail
from qpipe.stages.engine import model_facts

if TYPE_CHECKING:
    from qpipe.gguf.file_plan import FilePlan


def file_facts(path: Path) -> ModelFacts:
    """`model_facts` of a GGUF file that is there already, with the types of its tensors. Raises
    CheckpointError."""
    from qpipe.gguf.inspect import inspect

    summary = inspect(path)
    details = [
        TensorDetail(each["name"], each["type"], tuple(reversed(each["shape"])))
        for each in summary["tensors"]
    ]
    facts = model_facts(
        file_type=summary["file_type"] or "unknown",
        file_bytes=summary["file_bytes"],
        tensor_bytes=summary["tensor_bytes"],
        n_weights=summary["parameters"],
        bits_per_weight=summary["bits_per_weight"],
        architecture=summary["architecture"],
        types={name: entry["tensors"] for name, entry in summary["types"].items()},
        n_tensors=len(details),
    )
    digest = _digest({each.name: each.type for each in details})
    return facts.adding(types_digest=digest, tensor_details=tensors.to_fact(details))


def planned_facts(prepared: FilePlan, kept: Collection[str] | None = None) -> ModelFacts:
    """Facts of a file that is about to be written, or was and has ``kept`` the lattices of tensors.

    ``types_digest`` is equal for files of one source that have the same tensors, ``fallback`` the
    note on what its name says and it does not hold.
    """
    kept = prepared.on_lattice if kept is None else kept
    types = {
        name: kind.name + (" on a lattice" if name in kept else "")
        for name, kind in prepared.types.items()
    }
    facts = model_facts(**prepared.facts).adding(types_digest=_digest(types))
    if kept:
        facts = facts.adding(lattice_tensors=len(kept))
    if prepared.shortfall is None:
        return facts
    return facts.adding(fallback=prepared.shortfall.note())


def lattice_notes(prepared: FilePlan, kept: Collection[str] | None = None) -> list[str]:
    """A note on the tensors that keep their lattice, or seem to before the file is written."""
    from qpipe.gguf import lattices

    names = prepared.on_lattice if kept is None else kept
    return [lattices.note(names, prepared.types)] if names else []


def with_tensors(facts: ModelFacts, plan: FilePlan, errors: Mapping[str, float]) -> ModelFacts:
    """Add the type, shape and relative error of each tensor of a file that was written."""
    details = [
        TensorDetail(output.name, output.type.name, output.shape, errors.get(output.name))
        for output in plan.outputs
    ]
    return facts.adding(tensor_details=tensors.to_fact(details))


def _digest(types: Mapping[str, str]) -> str:
    return bytes_sha256(encode(types))
