"""Why a published value and a figure of ours cannot be set beside each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qpipe.errors import nearest
from qpipe.evaluators.text.protocols import PROTOCOLS
from qpipe.published.figures import Ours
from qpipe.published.schema import PublishedValue
from qpipe.published.tolerance import same_tokens

HARNESS = "lm-eval"

# Words of a card's name without which it is another card.
_VARIANTS = frozenset({"ti", "super", "laptop", "max", "pro", "ultra", "mobile"})
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# The texts that ship with qpipe: children's stories.
_TOY = "tinystories"
# Where a recipe or an override may say how a text is cut.
_CUTS = ("n_ctx", "chunks")


def beforehand(value: PublishedValue, machine: Sequence[str]) -> str | None:
    """Why nothing that runs on a machine can be set beside a value; None if it can. ``machine`` is
    its processor, then its GPUs, then all else that describes it."""
    if value.not_comparable is not None:
        return value.not_comparable
    if value.kind == "quality":
        return _of_protocol(value)
    if value.kind == "speed":
        return _of_hardware(value.hardware, machine)
    return None


def is_task(value: PublishedValue) -> bool:
    """True for a score of a task: ``acc[mmlu]``."""
    return value.score.endswith("]")


def _of_protocol(value: PublishedValue) -> str | None:
    stated = value.metric.protocol
    if is_task(value):
        harness = stated or value.metric.harness
        if harness is None:
            return "the harness was not stated"
        if not _normal(harness).startswith(_normal(HARNESS)) and "harness" not in harness.lower():
            return f"another harness: {harness}; qpipe measures tasks with {HARNESS}"
        return None
    if stated is None:
        return "the protocol was not stated"
    name = stated.split(" ")[0]
    if name not in PROTOCOLS:
        return f"qpipe has no protocol {name!r}; {nearest(name, PROTOCOLS)}"
    return None


def _normal(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())


def _of_hardware(stated: str | None, machine: Sequence[str]) -> str | None:
    if stated is None:
        return "the hardware was not stated"
    processor, *gpus, rest = machine
    wanted, around = _tokens(stated), _tokens(rest) | {"core", "cores"}
    for part in (processor, *gpus):
        own = _tokens(part)
        if own & wanted and wanted <= own | around and own & _VARIANTS <= wanted:
            return None
    shown = ", ".join(filter(None, (processor, *gpus))) or "unknown"
    return f"other hardware: published on {stated}, this is {shown}"


def _tokens(name: str) -> set[str]:
    return {*re.findall(r"[a-z0-9]+", name.lower())}


def afterwards(value: PublishedValue, ours: Ours) -> str | None:
    """Why a figure that was measured cannot be set beside a value; None if it can."""
    if value.kind != "quality" or is_task(value):
        return None
    if same_tokens(value, ours):
        return None
    digest = value.metric.tokens_sha256
    if digest is not None and ours.tokens_sha256 is not None:
        return (
            f"other tokens: published on {digest[:12]}…, measured on {ours.tokens_sha256[:12]}… "
            f"of {ours.text}: another text, or another tokenizer"
        )
    return _other_text(value, ours) or _other_protocol(value, ours)


def _other_text(value: PublishedValue, ours: Ours) -> str | None:
    """The toy texts stand in for nothing that a paper measured on."""
    stated, own = value.metric.text, ours.text
    if own is None or _TOY not in own:
        return None
    if stated is None and not _REPOSITORY.fullmatch(value.row.model or ""):
        return None  # a model of one's own
    if stated is not None and _TOY in _normal(stated):
        return None
    return (
        f"another text: published on {stated or 'one that was not stated'}, measured on {own}, "
        "which ships with qpipe; evaluate.text=FILE in overrides names the right one"
    )


def _other_protocol(value: PublishedValue, ours: Ours) -> str | None:
    """Another protocol than was measured, or a departure from it that no table asks for."""
    stated, own = (value.metric.protocol or "").split(" "), (ours.protocol or "").split(" ")
    if stated[0] != own[0]:
        return (
            f"another protocol: published under {stated[0]}, measured under {own[0]}; "
            f"evaluate.protocol={stated[0]} in overrides measures it so"
        )
    asked = [o.lstrip("+").partition("=") for o in value.overrides]
    named = {key.rpartition(".")[2] for key, _, _ in asked}
    for word in own[1:]:
        key, _, number = word.partition("=")
        if key in _CUTS and word not in stated[1:] and key not in named:
            return (
                f"measured with {word}, which the table does not ask for: the recipe says so; "
                f"evaluate.{key}=null in overrides measures it whole, evaluate.{key}={number} says "
                "that it was published so"
            )
    lost = [word for word in stated[1:] if word.partition("=")[0] in _CUTS and word not in own[1:]]
    if lost:
        return (
            f"published with {lost[0]}, measured without; evaluate.{lost[0]} in overrides does it"
        )
    return None
