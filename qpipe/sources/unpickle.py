"""unpickle: a checkpoint whose weights are pickles (pytorch_model*.bin) as one of safetensors.

Only where a recipe allows it for that very commit (`model.allow_pickle`); all that comes behind
reads safetensors, as of any other checkpoint.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.core.layout import MANIFEST
from qpipe.errors import CheckpointError
from qpipe.gguf.weight_files import INDEX
from qpipe.sources import pickle_check, pickle_files, pickle_names
from qpipe.stages import base
from qpipe.support import extras


class UnpickleParams(base.Params):
    """There is nothing to choose."""


class Unpickle(base.Stage):
    """Reads tensors alone (`torch.load` with ``weights_only``), a file at a time, and keeps their
    types; a file that asks for anything else is refused before torch opens it."""

    kind = "unpickle"
    version = 1
    roles = ("checkpoint",)
    imports = ("torch",)
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": (base.CHECKPOINT,)}
    Params = UnpickleParams

    @classmethod
    def makes(cls, params: UnpickleParams) -> str:
        """A checkpoint folder."""
        return base.CHECKPOINT

    @classmethod
    def fingerprint(cls, params: UnpickleParams) -> Mapping[str, Json]:
        """safetensors lays the files out."""
        return {"name": "qpipe.unpickle", "safetensors": base.installed("safetensors")}

    @classmethod
    def resources(cls, params: UnpickleParams, *, cores: int) -> Resources:
        """A file is mapped into memory, and its tensors written one after the other."""
        return Resources(cpus=1, memory=2 << 30)

    @classmethod
    def check(cls) -> str | None:
        """Needs torch and safetensors."""
        for name in ("torch", "safetensors"):
            if importlib.util.find_spec(name) is None:
                return f"reading a pickle needs {name}: {extras.command('hf')}"
        return None

    @classmethod
    def refuse(cls, params: UnpickleParams, order: base.Order) -> None:
        """Raises CheckpointError for what a file asks for or claims, by its headers."""
        if folder := order.inputs.get("checkpoint"):
            for name in pickle_files.weight_files(folder):
                pickle_check.check(folder / name)

    def run(self, params: UnpickleParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError for a file that is damaged, or holds more than tensors."""
        from qpipe.sources import unpickling

        source = work.inputs["checkpoint"]
        names = pickle_files.weight_files(source)
        files = [pickle_check.check(source / name) for name in names]
        index = pickle_files.weight_map(source)
        whole = sum(file.size for file in files)
        tied = _tied(source)
        places: dict[str, str] = {}
        aliases: dict[str, str] = {}
        size = done = 0
        for name, file in zip(names, files, strict=True):
            work.note(name)
            listed = None if index is None else {t for t, where in index.items() if where == name}
            out = pickle_names.safetensors_name(name)
            shard = unpickling.convert(file, work.out / out, listed=listed, tied=tied)
            if twice := sorted(places.keys() & shard.names):
                raise CheckpointError(
                    f"{source / name}: tensor {twice[0]!r} is in {places[twice[0]]} too; remove "
                    "the file that does not belong to the checkpoint"
                )
            places |= dict.fromkeys(shard.names, out)
            aliases |= shard.aliases
            size, done = size + shard.nbytes, done + file.size
            work.progress(done, whole, "bytes")
        if len(names) > 1:
            contents = {
                "metadata": {"total_size": size},
                "weight_map": places,
            }
            text = json.dumps(contents, indent=2, sort_keys=True) + "\n"
            (work.out / INDEX).write_text(text, encoding="utf-8")
        _bring_along(source, work)
        return _facts(work, size, names, aliases)


def _tied(folder: Path) -> bool:
    """False where config.json says that the output matrix is not the embedding."""
    from qpipe.gguf import jsonfile

    fields = jsonfile.load(folder / "config.json")
    return fields.get("tie_word_embeddings") is not False


def _bring_along(source: Path, work: base.Work) -> None:
    """Link all but the pickles and their index."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and name != MANIFEST and not pickle_names.is_pickled(name):
            target = work.out / name
            target.parent.mkdir(exist_ok=True)
            work.link(path, target)


def _facts(
    work: base.Work, size: int, names: list[str], aliases: Mapping[str, str]
) -> Mapping[str, Json]:
    """Account for the files; the source is named as that of a download is."""
    record = work.origins["checkpoint"]
    params, facts = record["params"], record["facts"]
    assert isinstance(params, Mapping) and isinstance(facts, Mapping), record
    known = {**facts, **params}
    kept = {
        name: known[name] for name in ("name", "fetched_from", "repo", "commit") if known.get(name)
    }
    shown = names[0] + (f" and {len(names) - 1} more" if names[1:] else "")
    notes = [f"{shown}: read with weights_only, and written as safetensors"]
    notes += [f"{name} is {other}, and written once" for name, other in sorted(aliases.items())]
    return {**kept, "size_bytes": size, "aliases": dict(aliases), "notes": [*notes]}
