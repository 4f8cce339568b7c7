"""What a stage is: a params model, a few declarations, and one ``run``.

Engines (qpipe/engines/) and evaluators (qpipe/evaluators/) are stages too: ``uses: quantize`` is
one of the engines, chosen by the parameters ``method`` and ``engine``; ``uses: evaluate`` is one of
the evaluators, chosen by ``metric``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict

from qpipe.core.digests import Digests, Stamp, stamp
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.core.manifest import FileEntry
from qpipe.machine import filesystem
from qpipe.results.measurement import Measurement
from qpipe.results.model import ModelFacts
from qpipe.results.preview import Preview as Preview
from qpipe.support.file_kinds import REFERENCE_SUFFIX as REFERENCE_SUFFIX
from qpipe.support.hashing import Sealed


class Params(BaseModel):
    """Base of all parameter models: strict types, no unknown fields, no NaN, frozen."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, validate_default=True
    )


def description(model: type[BaseModel], name: str) -> str | None:
    """The words on a parameter, its own or those of the nearest parent that has any."""
    fields = [cls.model_fields.get(name) for cls in model.__mro__ if issubclass(cls, BaseModel)]
    return next((field.description for field in fields if field and field.description), None)


class UnkeyedDefault:
    """Marks a parameter that came later: at its default it is left out of keys."""


def keyed(params: BaseModel) -> dict[str, Any]:
    """The parameters that are in keys, as JSON."""
    later = {
        name
        for name, field in type(params).model_fields.items()
        if any(isinstance(mark, UnkeyedDefault) for mark in field.metadata)
        and getattr(params, name) == field.default
    }
    return params.model_dump(mode="json", exclude=later)


class InputFile:
    """Marks a parameter that names a file or folder: it becomes a pinned input of the node."""


ParamsModel: TypeAlias = type[Params]

SourceFile: TypeAlias = Annotated[str, InputFile()]
"""A local path, ``builtin:NAME`` or ``hf:[datasets/]OWNER/NAME[@REVISION]/FILE``."""


Result: TypeAlias = "Mapping[str, Json] | Measurement | ModelFacts"
"""What a stage found out: of a measurement, of a model, or facts of its own."""

# Files beside a model that no tool computes with. Terms go along with what is made of it, and the
# metadata of its card into GGUF files.
TERMS = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*")
DOCUMENTS = (*TERMS, "README*")

# What an artifact that holds a model is; of the last, its log-probabilities on a text alone.
GGUF, CHECKPOINT, EXL2, REFERENCE = "gguf", "checkpoint", "exl2", "reference"


@dataclass(frozen=True)
class Order:
    """A request to a stage: the artifact with this ``key``, from ``inputs`` by role.

    ``origins`` say how each input was made (`Manifest.origin`). ``foreseen`` are inputs that are
    not made yet, where a stage is asked for a preview and ``foresees``; ``configs`` are config.json
    of those that are repositories and not downloaded yet, where it is asked what it would refuse;
    ``coming`` are the roles of all that are not here yet. ``root`` gives, by role, the source that
    an input is made from, along models and checkpoints, None where it is not here.
    """

    inputs: Mapping[str, Path]
    key: str = field(default="", kw_only=True)
    origins: Mapping[str, Mapping[str, Json]] = field(default_factory=dict, kw_only=True)
    foreseen: Mapping[str, Preview] = field(default_factory=dict, kw_only=True)
    configs: Mapping[str, Path] = field(default_factory=dict, kw_only=True)
    coming: Collection[str] = field(default=(), kw_only=True)
    root: Callable[[str], Path | None] = field(default=lambda role: None, kw_only=True)


@dataclass(frozen=True)
class Work(Order):
    """One call of a stage: the folder to fill, and how to do it here.

    ``partial`` is a folder, not made yet, for what a later call with the same key can go on from
    if this one is killed or fails: whole files, or lines of which the last may be cut. It goes
    once the artifact is finished. None: nothing is kept.
    ``progress`` takes (done, total, unit), ``note`` what goes on meanwhile, in a few words;
    ``where`` locates pinned sources on this machine.
    ``passing``: ``out`` is looked at and goes away again, and links to it leave no trace elsewhere.
    ``hashed`` takes the SHA-256 of files in ``out`` that the stage has read anyway, by stamp; what
    the store knows of others, ``digests`` says (None: nothing).
    """

    out: Path
    threads: int
    progress: Callable[[int, int, str], None]
    where: Mapping[str, Json]
    partial: Path | None = field(default=None, kw_only=True)
    note: Callable[[str], None] = field(default=lambda words: None, kw_only=True)
    passing: bool = field(default=False, kw_only=True)
    hashed: dict[Stamp, str] = field(default_factory=dict, kw_only=True)
    digests: Digests | None = field(default=None, kw_only=True)

    def link(self, source: Path, target: Path) -> None:
        """Make ``target``, a file in ``out``, the same file as ``source``
        (`filesystem.link`), whose bytes are read again only if the store does not know them."""
        if self.digests is None:
            filesystem.link(source, target)
        elif linked := self.digests.link(source, target, filesystem.link):
            self.hashed[linked.stamp] = linked.sha256

    def keep(self, path: Path, sealed: Sealed) -> None:
        """Take a file's digest, which came out of writing it, for known, if it is still so."""
        if sealed.is_still(stat := path.stat()):
            self.hashed[stamp(stat)] = sealed.sha256


@dataclass(frozen=True)
class Chain:
    """A sequence of a sweep's measurements that differ by model alone, smaller models first.

    The stage ``through`` has a measurement in the role ``measured`` and its model in the role
    ``model``; what it hands on, the next measurement and the next ``through`` have in the role
    ``rivals``. ``model`` is the measurement's own role for its model too.
    """

    through: type[Stage]
    model: str
    measured: str
    rivals: str


class Stage(abc.ABC):
    """A kind of work. Subclasses declare; only ``run`` does anything heavy.

    ``version`` goes up whenever the same parameters and inputs give other bytes.
    ``roles`` are the inputs that a recipe must wire with ``needs``, ``optional_roles`` those that
    it may; one that is also a file parameter is wired or given as a file, not both.
    ``accepts`` lists, by role, the formats of a model that can be read, where not all can.
    ``unread`` lists, by role, patterns of the files of an input that make no difference to what
    comes out: adding one or changing it makes nothing anew.
    ``reads_once`` is the role of an input that `run_all` reads once for several nodes.
    ``imports`` are modules that ``run`` imports anyway and that take seconds, as torch does: a run
    in which several stages have the same imports them once, in a process that workers are forked
    from. None that starts threads, or CUDA, or changes others when it is imported.
    ``foresees`` is whether ``preview`` can do with inputs that are not all there: it is then given
    the previews of those, and config.json of repositories.
    ``chain`` is how it may end early where a recipe says ``stop_dominated``, None if it cannot.
    ``text_alone`` is the role of a checkpoint of which it takes the text model alone, without
    towers for images and sound.
    ``stand_in`` takes its place, where a recipe leaves the choice, for a checkpoint in its first
    role whose class is not among `reads`.
    ``lacking`` are choices that its kind has elsewhere and not here, such as a backend of other
    evaluators, each with the reason and what to choose.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    roles: ClassVar[tuple[str, ...]] = ()
    optional_roles: ClassVar[tuple[str, ...]] = ()
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    reads_once: ClassVar[str | None] = None
    imports: ClassVar[tuple[str, ...]] = ()
    foresees: ClassVar[bool] = False
    chain: ClassVar[Chain | None] = None
    text_alone: ClassVar[str | None] = None
    stand_in: ClassVar[type[Stage] | None] = None
    lacking: ClassVar[Mapping[str, str]] = {}
    Params: ClassVar[ParamsModel]

    @classmethod
    def recipe_params(cls) -> ParamsModel:
        """The model of what a recipe gives; nodes hold ``Params`` (sources differ, once pinned)."""
        return cls.Params

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """Name, version and build of the tool that shapes the bytes; part of the key."""
        return {}

    @classmethod
    def dequantizes(cls) -> Collection[str]:
        """The methods by which a checkpoint in its first role may be quantized."""
        return ()

    @classmethod
    def reads(cls) -> Collection[str]:
        """The classes of models that it can read, as config.json names them, where it has a
        ``stand_in``."""
        return ()

    @classmethod
    def makes(cls, params: Any) -> str | None:
        """The format of the model that comes out, GGUF or CHECKPOINT; None if there is none, or
        only running would tell. ``params`` are as given in a recipe."""
        return None

    @classmethod
    def bits(cls, params: Any) -> float | None:
        """About how many bits a weight takes in the model that comes out, from the parameters
        alone, None if they do not tell: what the levels of a sweep are put in order by."""
        return None

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """Resources that the stage occupies where it may use ``cores`` CPU cores:
        ``executor.cpus``, else those of the machine that qpipe itself may use."""
        return Resources()

    @classmethod
    def python(cls, params: Any) -> str | None:
        """The interpreter that it needs, or None for this one."""
        return None

    @classmethod
    def check(cls) -> str | None:
        """Why it cannot run on this machine, with the command that helps, or None."""
        return None

    @classmethod
    def refuse(cls, params: Any, order: Order) -> None:
        """Raise what ``run`` would, as far as headers of the inputs in ``order`` say it.

        Asked in a plan, and before a run starts anything: of inputs, those are there that the store
        has or that are local files; of a repository, config.json. Reads no weights.
        """
        return

    @classmethod
    def preview(cls, params: Any, order: Order) -> Preview | None:
        """Forecast what ``run`` would make, without making it; None if only running would tell.

        Raises what ``run`` would raise, as far as it is known beforehand. A stage that ``foresees``
        may answer with an estimate (`Preview.about`).
        """
        return None

    @classmethod
    def confirm(cls, params: Any, files: Sequence[FileEntry]) -> None:
        """Raise if the files made are not what the parameters promise."""
        return

    @abc.abstractmethod
    def run(self, params: Any, work: Work) -> Result:
        """Fill ``work.out``; what was found out, which goes into the manifest."""

    def run_all(self, tasks: Sequence[tuple[Any, Work]]) -> Sequence[Result]:
        """`run` for each of several nodes whose input in the role `reads_once` is the same.

        What it raises may concern any of them: each is then run by itself.
        """
        return [self.run(params, work) for params, work in tasks]


@cache
def installed(distribution: str) -> str:
    """The version of an installed distribution, ``missing`` if it is not there."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"
