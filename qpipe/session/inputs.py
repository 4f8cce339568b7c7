"""What is there of a node's inputs before anything runs: artifacts, and local sources."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.core.env_values import reveal
from qpipe.core.forecast import Forecast
from qpipe.core.graph import Node
from qpipe.core.key import Json
from qpipe.errors import QpipeError, SourceError, placed

if TYPE_CHECKING:
    from qpipe.stages.base import Order, Stage

# Stands for a key that depends on an input's content: as long as all keys.
_SOME_KEY = "0" * 64


def stage_of(entry: str) -> type[Stage]:
    """Import the class behind a node's entry."""
    module, _, name = entry.partition(":")
    stage: type[Stage] = getattr(importlib.import_module(module), name)
    return stage


class AvailableInputs:
    """The inputs at hand: artifacts of ``forecasts`` that the store has, and local sources.

    A local source is linked together below ``temporary`` once it is asked for.
    """

    def __init__(self, forecasts: Sequence[Forecast], temporary: Path) -> None:
        """Keep the forecasts; nothing is read or linked yet."""
        self._forecasts = {item.node.id: item for item in forecasts}
        self._temporary = temporary
        self._configs: dict[str, Path | None] = {}

    def order(self, item: Forecast) -> Order:
        """Return the order for a node's stage, with those inputs alone that are at hand.

        Raises SourceError for a local source that cannot be read.
        """
        from qpipe.stages.base import Order

        inputs = {role: self._forecasts[input_id] for role, input_id in item.node.inputs.items()}
        folders = {role: self._folder(each) for role, each in inputs.items()}
        there = {role: folder for role, folder in folders.items() if folder is not None}
        origins = {role: _origin(inputs[role]) for role in there}
        coming = inputs.keys() - there.keys()
        return Order(there, key=item.key or _SOME_KEY, origins=origins, coming=coming)

    @contextmanager
    def in_users_words(self, item: Forecast) -> Iterator[None]:
        """Rename the inputs of a node in the errors of a block to what the user calls them."""
        try:
            yield
        except QpipeError as error:
            places = {}
            for input_id in item.node.inputs.values():
                where = self._forecasts[input_id].node.runtime.where
                if "shown" in where:
                    places[str(self._at(input_id))] = str(where["shown"])
                    if config := self._configs.get(input_id):
                        places[str(config.parent)] = str(where["shown"])
            error.args = (placed(str(error), places), *error.args[1:])
            raise

    def _at(self, input_id: str) -> Path:
        artifact = self._forecasts[input_id].artifact
        return self._temporary / input_id if artifact is None else artifact.path

    def ahead(self, item: Forecast) -> Order:
        """Return the `order` of a node, with config.json of the repositories that are not here yet.

        Raises SourceError.
        """
        inputs = {role: self._forecasts[node_id] for role, node_id in item.node.inputs.items()}
        fetched = {role: self._config(each) for role, each in inputs.items()}
        configs = {role: path for role, path in fetched.items() if path is not None}
        return replace(self.order(item), configs=configs)

    def params(self, node: Node) -> Any:
        """Return a node's parameters as its stage has them."""
        return stage_of(node.runtime.entry).Params.model_validate_json(
            json.dumps(reveal({**node.params, **node.runtime.asides}))
        )

    def _folder(self, item: Forecast) -> Path | None:
        if item.artifact is not None:
            return item.artifact.path
        if "path" not in item.node.runtime.where:
            return None
        folder = self._temporary / item.node.id
        if not folder.exists():
            folder.mkdir()
            self._link(item.node, folder)
        return folder

    def _config(self, item: Forecast) -> Path | None:
        if item.artifact is None and item.node.id not in self._configs:
            self._configs[item.node.id] = _config(item.node)
        return self._configs.get(item.node.id)

    def _link(self, node: Node, folder: Path) -> None:
        from qpipe.stages.base import Work

        where = node.runtime.where
        work = Work({}, folder, 1, lambda done, total, unit: None, where, passing=True)
        stage_of(node.runtime.entry)().run(self.params(node), work)


def _config(node: Node) -> Path | None:
    """The path of config.json of a repository's checkpoint; None for any other source.

    It is None without a network, too: the download tells.
    """
    params = node.params
    if params.get("kind") != "model" or params.get("file") is not None:
        return None
    from qpipe.sources import hub
    from qpipe.sources.pinning import HubSource

    source = HubSource(str(params["repo"]), "model", str(params["commit"]), None)
    try:
        return hub.config(source)
    except SourceError:
        return None


def _origin(item: Forecast) -> Mapping[str, Json]:
    if item.artifact is not None:
        return item.artifact.manifest.origin
    node = item.node  # a local source: its digest is what it was pinned by
    params = node.params
    facts = {"name": node.runtime.where["name"]}
    return {"stage": node.stage, "params": params, "digest": params["tree"], "facts": facts}
