"""What is said of a row: why it stands where it does, and what it gives up."""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.advice.candidates import AdvisedFormat
from qpipe.advice.evidence import QualityEvidence
from qpipe.advice.hardware import AdvisedMachine, gib
from qpipe.advice.ranking import RankedRow, lossless, shown
from qpipe.advice.rulebook import Rulebook

_SLOW = "layers on the CPU slow down all of it"


def why(row: RankedRow, machine: AdvisedMachine, book: Rulebook) -> str:
    """Say where it fits, the rules that speak for it, and what was measured."""
    said = [fits(row.candidate, machine, book), *row.overruled]
    said += [rule.says.en for rule in row.candidate.rules if rule.effect.points > 0]
    return " ".join(each if each.endswith(".") else f"{each}." for each in said)


def fits(candidate: AdvisedFormat, machine: AdvisedMachine, book: Rulebook) -> str:
    """Say where it computes, and what is left there."""
    there = candidate.footprint
    if there.device == "cpu":
        return f"In RAM, with {gib(machine.cpu_room(book) - there.on('cpu'))} to spare"
    spare = machine.gpu_room(book, candidate.runtime) - there.on("gpu")
    if there.device == "gpu":
        return f"In the GPU whole, with {gib(spare)} to spare"
    return (
        f"Shared: {there.layers} of {there.of_layers} layers on the GPU, {gib(there.on('cpu'))} "
        "of the rest in RAM"
    )


def gives_up(row: RankedRow) -> list[str]:
    """Return what a user loses with it, and what is not known."""
    return list(_losses(row))


def _losses(row: RankedRow) -> Iterator[str]:
    candidate = row.candidate
    if lossless(candidate):
        yield "memory and speed: it is the model as it is published"
    elif row.quality is None:
        yield "quality: how much is not known, no figure of this format is published here"
    else:
        yield f"quality: {of_model(row.quality)}"
    if candidate.footprint.device == "cpu+gpu":
        yield f"speed: {_SLOW}"
    if any(rule.effect.imatrix for rule in candidate.rules):
        yield "time: an importance matrix is computed first"
    elif candidate.calibrated:
        yield "time: it is calibrated on a text"
    yield from (rule.says.en for rule in candidate.rules if rule.effect.gives_up)
    yield from row.doubts


def of_model(each: QualityEvidence) -> str:
    """A figure with the model that it is of, and how far it transfers."""
    if each.transfer == "same model":
        where = "own run" if each.origin == "run" else "published"
        return f"{shown(each)} ({where}, this model)"
    name = each.model.rpartition("/")[2]
    return f"{shown(each)} (published of {name}: an indication)"
