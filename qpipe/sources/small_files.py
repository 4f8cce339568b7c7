"""Of a repository on the hub, what its sizes hang on: config.json and the tokenizer, no weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qpipe.errors import SourceError
from qpipe.sources import gguf_types, hub, model_files
from qpipe.sources.arrival import Arriving
from qpipe.sources.hub_download import ListedFile, bring, snapshot_folder
from qpipe.sources.hub_source import HubSource

CONFIG = "config.json"
_TOKENIZER = (
    *("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "merges.txt"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "generation_config.json"),
)


def fetch(source: HubSource) -> tuple[str, Path]:
    """The commit that ``source`` stands for now, and the folder in the hub's cache that has its
    config.json and its tokenizer's files. Raises SourceError for a repository without config.json,
    or which cannot be had."""
    commit = hub.resolve_commit(source)
    pinned = replace(source, revision=commit)
    names, _ = hub.file_names(pinned)
    if CONFIG not in names:
        raise SourceError(
            f"{source.label}: has no {CONFIG}, by which sizes are reckoned{_instead(source, names)}"
        )
    for name in (CONFIG, *(each for each in _TOKENIZER if each in names)):
        bring(pinned, ListedFile(name), Arriving(lambda done, total, unit: None))
    return commit, snapshot_folder(pinned)


def _instead(source: HubSource, names: list[str]) -> str:
    """Say how to name one of its GGUF files, if it has any."""
    models = gguf_types.by_type(model_files.gguf_models(names))
    if not models:
        return ""
    listed = gguf_types.listed([*models])
    return f"; name one of its GGUF files by type, as {source.repo}:{next(iter(models))} ({listed})"
