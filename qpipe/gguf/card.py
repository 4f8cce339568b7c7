"""The front matter of a model card: the YAML between two lines of dashes that README.md opens with.

Read as gguf-py does (metadata.py, load_model_card), but up to a bound, and with nothing in it that
a card has no use for: aliases that multiply what they stand for, tags that ask for another type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qpipe import errors, yamlbounds
from qpipe.support.files import open_file, up_to

MOST = 1 << 19
"""Bytes of front matter; the longest (tables of results) have a quarter of it."""

_NAME = "README.md"
_LEVELS = 50

# What gguf-py 0.19.0 (metadata.py, apply_metadata_heuristic) takes as text, and as several texts.
_TEXTS = (
    *("name", "author", "version", "organization", "description", "finetune", "basename"),
    *("size_label", "url", "doi", "uuid", "repo_url", "license_name", "license_link"),
    *("source_url", "source_doi", "source_uuid", "source_repo_url", "model_creator", "model_type"),
)
_ALL_TEXTS = (*_TEXTS, *(f"model_{name}" for name in _TEXTS))
_LISTS = ("license", "tags", "pipeline_tag", "languages", "language")
_MODELS = (
    *("base_model", "base_models", "base_model_sources"),
    *("datasets", "dataset", "dataset_sources"),
)
_HALF = re.compile("[\ud800-\udfff]")


def read(folder: Path) -> dict[str, Any]:
    """The fields that GGUF takes over, empty without a card.

    Raises `CheckpointError` for front matter that is no YAML, too long, or of other types.
    """
    return _card_fields(front_matter(folder), folder / _NAME)


def front_matter(folder: Path) -> dict[Any, Any]:
    """All fields, as they are, of a card without any or that is not there none.

    Raises `CheckpointError` for what is no YAML, or too long.
    """
    path = folder / _NAME
    if not path.is_file():
        return {}
    try:
        text = _front_matter(_head(path))
        card = yaml.load(text, Loader=_CardLoader) if text else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise _unusable(path, f"is no YAML ({' '.join(str(reason).split())[:300]})") from None
    return card if isinstance(card, dict) else {}


def _unusable(path: Path, problem: str) -> errors.CheckpointError:
    return errors.CheckpointError(f"{path}: the front matter {problem}; correct or remove the file")


def _head(path: Path) -> bytes:
    with open_file(path, errors.CheckpointError) as file:
        if file.read(3) != b"---":
            return b""
        return b"---" + up_to(file, MOST)


def _front_matter(head: bytes) -> str:
    """The YAML in ``head``; ValueError where it is cut off or no UTF-8. The text behind may be."""
    try:
        text, problem = head.decode(), None
    except UnicodeDecodeError as error:
        text, problem = head[: error.start].decode(), error
    lines = text.splitlines()
    if not lines or lines[0] != "---":
        return ""
    if "---" in lines[1:]:
        lines = lines[: lines.index("---", 1)]
    elif len(head) > MOST:
        raise ValueError(f"it does not end within {MOST:,} bytes")
    elif problem is not None:
        raise problem
    # As gguf-py 0.19.0: `no` in a list is Norway's, and tabs are two spaces.
    text = ("\n".join(lines[1:]) + "\n").replace("- no\n", '- "no"\n').replace("\t", "  ")
    _refuse_depth(text)
    return text


def _refuse_depth(text: str) -> None:
    """Raise ValueError for brackets more than `_LEVELS` deep."""
    # PyYAML 6.0.3 takes quadratic time for brackets inside brackets.
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = max(0, depth + (1 if bracket in "[{" else -1))
        if depth > _LEVELS:
            raise ValueError("it is nested too deeply")


class _CardLoader(yamlbounds.Loader):
    """Plain YAML: no aliases and no tags."""

    def compose_node(self, parent: yaml.Node, index: int) -> yaml.Node:
        """One node, refused by its event."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "aliases and tags have no place in it", event.start_mark
            )
        return super().compose_node(parent, index)


def _card_fields(card: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    """The fields that gguf-py looks at, each of a type that it can have."""
    fields = {name: card[name] for name in (*_ALL_TEXTS, *_LISTS, *_MODELS) if name in card}
    for name, value in fields.items():
        if not all(map(_is_scalar, _entries(name, value))):
            kind = "text" if name in _ALL_TEXTS else "a list of texts"
            raise _unusable(path, f"has {errors.quoted(value)} as {name!r}, not {kind}")
    if isinstance(fields.get("license"), list):
        fields["license"] = list(map(str, fields["license"]))
    return fields


def _entries(name: str, value: Any) -> list[Any]:
    """The single values of a field: of a list, and of a model's or data set's own fields."""
    if name in _ALL_TEXTS or not isinstance(value, list):
        return [value]
    if name in _LISTS:
        return value
    return [
        inner
        for entry in value
        for inner in (entry.values() if isinstance(entry, dict) else [entry])
    ]


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return not _HALF.search(value)
    return not isinstance(value, (dict, list, tuple, set, bytes))
