"""What is there of a node's inputs before anything runs: artifacts, and local sources."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.core.env_values import reveal
from qpipe.core.forecast import Forecast
from qpipe.core.graph import Node
from qpipe.core.key import Json
from qpipe.errors import QpipeError, SourceError, UnreachableError, placed
from qpipe.sources.hub_source import hub_source

if TYPE_CHECKING:
    from qpipe.sources.hub import ComingFiles
    from qpipe.stages.base import Order, Stage

Look = Callable[[Mapping[str, Json]], "ComingFiles | None"]
"""Says what downloading a repository with these parameters would bring; None if nobody can."""

# Stands for a key that depends on an input's content: as long as all keys.
_SOME_KEY = "0" * 64

_UNPICKLE = "unpickle"
_MADE_FROM = ("model", "checkpoint")


def stage_of(entry: str) -> type[Stage]:
    """Import the class behind a node's entry."""
    module, _, name = entry.partition(":")
    stage: type[Stage] = getattr(importlib.import_module(module), name)
    return stage


class AvailableInputs:
    """The inputs at hand: artifacts of ``forecasts`` that the store has, and local sources.

    A local source is linked together below ``temporary`` once it is asked for.
    """

    def __init__(
        self, forecasts: Sequence[Forecast], temporary: Path, look: Look | None = None
    ) -> None:
        """Keep the forecasts; nothing is read or linked yet. ``look`` says what a repository would
        bring, by default as the hub does."""
        self._look = look or _look
        self._forecasts = {item.node.id: item for item in forecasts}
        self._temporary = temporary
        self._coming: dict[str, ComingFiles | SourceError | None] = {}

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
            for input_id in self._read(item):
                where = self._forecasts[input_id].node.runtime.where
                if "shown" in where:
                    places[str(self._at(input_id))] = str(where["shown"])
                    coming = self._coming.get(input_id)
                    config = getattr(coming, "config", None)
                    if config is not None:
                        places[str(config.parent)] = str(where["shown"])
            error.args = (placed(str(error), places), *error.args[1:])
            raise

    def _read(self, item: Forecast) -> Iterator[str]:
        """The nodes whose files are read: the inputs, what they are made from, and of pickles the
        source too."""
        for input_id in item.node.inputs.values():
            yield input_id
            if (source := self._source(input_id)) is not None:
                yield source.node.id
            node = self._forecasts[input_id].node
            if node.stage == _UNPICKLE:
                yield node.inputs["checkpoint"]

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
        return replace(self.order(item), configs=configs, root=partial(self._root, item))

    def params(self, node: Node) -> Any:
        """Return a node's parameters as its stage has them."""
        return stage_of(node.runtime.entry).Params.model_validate_json(
            json.dumps(reveal({**node.params, **node.runtime.asides}))
        )

    def _root(self, item: Forecast, role: str) -> Path | None:
        """The folder of the source that an input is made from; None where it is not here."""
        source = self._source(item.node.inputs.get(role))
        return None if source is None else self._folder(source)

    def _source(self, node_id: str | None) -> Forecast | None:
        """The node that another is made from in the end, along models and checkpoints."""
        item = None
        while node_id is not None:
            item = self._forecasts[node_id]
            node_id = next((item.node.inputs[r] for r in _MADE_FROM if r in item.node.inputs), None)
        return item

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
        if item.node.stage == _UNPICKLE:  # changes weights alone
            item = self._forecasts[item.node.inputs["checkpoint"]]
            folder = self._folder(item)
            if folder is not None:
                return folder / "config.json"
        source = hub_source(item.node.params)
        if source is None or source.kind != "model" or source.one_file is not None:
            return None
        coming = self.coming(item)
        return None if coming is None else coming.config

    def coming(self, item: Forecast) -> ComingFiles | None:
        """Return what downloading a repository would bring; None for any other node, for one in the
        store, and without a network: the download tells.

        Raises SourceError for a repository that does not have what is asked for.
        """
        node = item.node
        if item.artifact is not None or hub_source(node.params) is None:
            return None
        if node.id not in self._coming:
            try:
                self._coming[node.id] = self._look(node.params)
            except SourceError as error:  # asked once
                self._coming[node.id] = error
        coming = self._coming[node.id]
        if isinstance(coming, SourceError):
            raise coming
        return coming

    @property
    def answered(self) -> bool:
        """Tell whether every repository that was asked about could be reached."""
        return None not in self._coming.values()

    def _link(self, node: Node, folder: Path) -> None:
        from qpipe.stages.base import Work

        where = node.runtime.where
        work = Work({}, folder, 1, lambda done, total, unit: None, where, passing=True)
        stage_of(node.runtime.entry)().run(self.params(node), work)


@contextmanager
def available(forecasts: Sequence[Forecast], look: Look | None = None) -> Iterator[AvailableInputs]:
    """The inputs at hand, linked together in a folder that goes with the block; ``look`` is as
    `AvailableInputs` takes it."""
    from tempfile import TemporaryDirectory  # imports much, and a remembered plan needs none of it

    with TemporaryDirectory(prefix="qpipe-inputs-") as temporary:
        yield AvailableInputs(forecasts, Path(temporary), look)


def _look(params: Mapping[str, Json]) -> ComingFiles | None:
    from qpipe.sources import hub

    source = hub_source(params)
    try:
        return None if source is None else hub.look(source)
    except UnreachableError:
        return None


def _origin(item: Forecast) -> Mapping[str, Json]:
    if item.artifact is not None:
        return item.artifact.manifest.origin
    node = item.node  # a local source: its digest is what it was pinned by
    params = node.params
    facts = {"name": node.runtime.where["name"]}
    return {"stage": node.stage, "params": params, "digest": params["tree"], "facts": facts}
