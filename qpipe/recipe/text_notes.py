"""Notes on the texts of a recipe: toy ones for a real model, and choices that come to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qpipe.recipe.draft import JobDraft
from qpipe.recipe.reference_source import TOKENIZER
from qpipe.recipe.request import Job

_BUILTIN = "builtin:"
_TOYS = f"{_BUILTIN}texts/"
_WORDS = {
    "calibration": ("is fitted to", "calibration=c4 (ultrachat for a chat model)"),
    "evaluation": ("is measured on", "text=wikitext-2"),
}
# A group that chooses a text: the field that it is for, and the value by which it chooses.
_GROUPS = {
    "text": ("evaluate", "evaluation_text"),
    "calibration": ("calibration", "calibration_text"),
}


def toy_notes(jobs: Sequence[tuple[Job, JobDraft]]) -> list[str]:
    """A sentence for each field by which a model that does not ship with qpipe is measured on, or
    calibrated with, a text that does: they are children's stories, for the model beside them."""
    notes: dict[str, str] = {}
    for job, draft in jobs:
        source = str(job.config["model"]["source"])
        if not source.startswith(_BUILTIN):
            for field, text in _toys(job, draft):
                notes.setdefault(field, _toy_note(field, text, source))
    return list(notes.values())


def _toys(job: Job, draft: JobDraft) -> Iterator[tuple[str, str]]:
    """The fields of stages that are given a text of qpipe's, and those texts."""
    texts = {
        stage["name"]: str(stage["params"]["source"])
        for stage in draft["stages"]
        if stage["source"] and str(stage["params"]["source"]).startswith(_TOYS)
    }
    for stage in draft["stages"]:
        # What lint and the second tokenizer look at, other stages are given too.
        second = stage["stage"] == "lint" or stage["name"] == TOKENIZER
        needs = () if second else stage["needs"].items()
        for role, name in needs:
            if name in texts:
                yield _written(f"stages.{stage['name']}.with.{role}", job.aliases), texts[name]


def _written(field: str, aliases: Mapping[str, str]) -> str:
    """The field of a block that fills a stage's parameter: ``evaluate.text``."""
    parent, _, name = field.rpartition(".")
    if field in aliases:
        return aliases[field]
    return f"{aliases[parent]}.{name}" if parent in aliases else field


def _toy_note(field: str, text: str, source: str) -> str:
    use = "calibration" if field.startswith("calibration") else "evaluation"
    verb, remedy = _WORDS[use]
    model = source.rstrip("/").rsplit("/", 1)[-1]
    return (
        f"{field}: {model} {verb} {text.removeprefix(_TOYS)}, children's stories that ship with "
        "qpipe for its own toy model, and say little about another: "
        f"give {remedy}, or {field}=FILE"
    )


def idle_choices(jobs: Sequence[Job]) -> list[str]:
    """A sentence for each override that chooses a text which none of the jobs takes."""
    texts = dict.fromkeys(text for job in jobs for text in job.overrides)
    return [
        f"the override {text!r} has no effect: {why}"
        for text in texts
        if (group := text.lstrip("+").partition("=")[0]) in _GROUPS
        and (why := _unheard(group, jobs))
    ]


def _unheard(group: str, jobs: Sequence[Job]) -> str | None:
    """Why no job takes the text that ``group`` chooses, None if one does."""
    block, value = _GROUPS[group]
    fields: list[tuple[Job, Any]] = [
        (job, (job.config.get(block) or {}).get("text")) for job in jobs
    ]
    if any(text == job.config["vars"][value] for job, text in fields):
        return None
    given = next((job for job, text in fields if text is not None), None)
    if given is None:
        return "nothing here is measured on a text"
    return f"{block}.text is set by {given.origins.origin(f'{block}.text')}"
