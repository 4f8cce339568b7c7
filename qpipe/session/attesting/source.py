"""The source of an attestation: pinned, brought here, and opened for reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qpipe.core.key import Json
from qpipe.errors import CheckpointError
from qpipe.session.attesting.words import in_words_of
from qpipe.session.plans import unlocked_pinner
from qpipe.sources.pinning import PinnedSource
from qpipe.stages.base import Work

if TYPE_CHECKING:
    from qpipe.gguf.file_plan import FilePlan

Progress = Callable[[int, int, str], None]

_OPTION = "--source"


@dataclass(frozen=True)
class OpenedSource:
    """A source as it would be in F16, ``plan``, whose rows can be read once `begin` was told of
    which tensors; its files are linked in ``folder``. ``record`` tells where it is from."""

    plan: FilePlan
    begin: Callable[[Iterable[str]], None]
    folder: Path
    record: Mapping[str, Json]


class _PassingWork(Work):
    """A download that is looked at and goes away again: its files are symbolic links."""

    def link(self, source: Path, target: Path) -> None:
        """Make ``target`` a link to ``source``."""
        target.symlink_to(source.resolve(strict=True))


@contextmanager
def opened(
    name: str, store: Path, *, threads: int, pre: str | None, progress: Progress
) -> Iterator[OpenedSource]:
    """Bring the source ``name``, as ``model.source`` takes it, here and open it within the block.

    ``pre`` names the splitting rule of its tokenizer for the case that it is not recognized. Raises
    SourceError where the source cannot be had, CheckpointError for one that cannot be converted.
    """
    with in_words_of(_OPTION):
        pinned = unlocked_pinner(store).pin(name, None)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="qpipe-attest-")))
        try:
            with in_words_of(_OPTION):
                _bring(pinned, folder, threads, progress)
                plan, begin = stack.enter_context(_read(folder, str(pinned.where["name"]), pre))
        except CheckpointError as error:  # in words that lead to the source, not to its links here
            said = str(error).replace(f"{folder}{os.sep}", "").replace(str(folder), name)
            said = said.removeprefix(f"{name}: ").removeprefix(f"{Path(name).name}: ")
            raise CheckpointError(f"{name}: {said}") from error
        yield OpenedSource(plan, begin, folder, _record(name, pinned))


def _bring(pinned: PinnedSource, folder: Path, threads: int, progress: Progress) -> None:
    from qpipe.sources.download import Download, DownloadParams

    params = DownloadParams.model_validate(dict(pinned.params))
    work = _PassingWork({}, folder, threads, progress, pinned.where, passing=True)
    Download().run(params, work)


def _record(name: str, pinned: PinnedSource) -> Mapping[str, Json]:
    params = pinned.params
    return {
        "source": name,
        "kind": params["kind"],
        "repo": params.get("repo"),
        "commit": params.get("commit"),
        "digest": params.get("tree"),
    }


_Reader = tuple["FilePlan", Callable[[Iterable[str]], None]]


@contextmanager
def _read(folder: Path, name: str, pre: str | None) -> Iterator[_Reader]:
    from qpipe.gguf import arch, split
    from qpipe.sources import model_class

    file = split.only_model(folder)
    known = None if file else model_class.read(folder / model_class.CONFIG)
    if file is not None:
        yield _of_file(file), _nothing
    elif known is not None and known.name not in arch.supported():
        from qpipe.gguf.pydist import streaming

        with streaming.opened(folder, outtype="F32", name=name) as conversion:
            yield _in_half(conversion.plan), conversion.begin
    else:
        yield _of_checkpoint(folder, name, pre), _nothing


def _of_checkpoint(folder: Path, name: str, pre: str | None) -> FilePlan:
    from qpipe.gguf.convert import prepare
    from qpipe.packed import source

    checkpoint = source.opened(folder)
    try:
        return prepare(checkpoint, outtype="F16", name=name)
    except CheckpointError as error:
        if pre is None or "pretokenizer" not in str(error):
            raise
    try:
        return prepare(checkpoint, outtype="F16", name=name, pretokenizer=pre)
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def _of_file(file: Path) -> FilePlan:
    from qpipe.gguf import quantize, types

    plan = quantize.read(file)
    packed = [output for output in plan.outputs if output.type not in types.FLOATS]
    if packed:
        raise CheckpointError(
            f"{file}: tensor {packed[0].name!r} is {packed[0].type.name}; a source is a checkpoint "
            "or a GGUF file in F32, F16 or BF16, of which others were made"
        )
    return _in_half(plan)


def _in_half(plan: FilePlan) -> FilePlan:
    """The plan of a file in whatever precision as one in F16: norms and biases stay F32."""
    from qpipe.gguf.tensor_names import keeps_single_precision
    from qpipe.gguf.types import FLOATS, GGMLType

    def half(name: str, shape: tuple[int, ...], kind: GGMLType) -> GGMLType:
        if kind not in FLOATS:
            return kind
        return GGMLType.F32 if keeps_single_precision(name, shape) else GGMLType.F16

    outputs = [
        replace(output, type=half(output.name, output.shape, output.type))
        for output in plan.outputs
    ]
    return replace(plan, outputs=outputs)


def _nothing(names: Iterable[str]) -> None:
    return
