"""What becomes of a family: its random checkpoint by every way, compared byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from qpipe import errors
from qpipe.gguf import arch, convert, quantize, reader, stream, values
from qpipe.gguf.pydist import streaming
from qpipe.llamacpp.backend import LlamaCppBackend
from tests.gguf import logits, samples
from tests.gguf.families.table import Family

TOLD = Path(__file__).with_name("told_converter.py")
LEVELS = ("Q8_0", "Q4_K_M", "IQ4_XS")
QUANTIZE = "llama-quantize"
TOKENS = 48


@dataclass(frozen=True)
class Outcome:
    """``differing`` names files that are not what they should be; ``native`` says if qpipe's own
    converter was among them, ``peer`` if llama-quantize was; ``loads`` is what llama.cpp says
    where it does not load a file; ``distance`` the mean difference of logits, if there is any."""

    differing: tuple[str, ...]
    native: bool
    peer: bool
    loads: str
    distance: float | None


def is_native(family: Family) -> bool:
    """True if qpipe converts it by itself."""
    return family.model_class in arch.supported()


@contextmanager
def told(family: Family, plainly: Mapping[str, Path]) -> Iterator[None]:
    """A converter that knows the small tokenizer's rule, and also makes files ``plainly``."""
    wanted = {"PLAINLY": json.dumps([[kind.lower(), str(out)] for kind, out in plainly.items()])}
    if family.tokenizer not in ("spm", "pieces"):
        wanted["PRETOKENIZER"] = family.tokenizer
    with mock.patch.object(streaming, "_CHILD", TOLD), mock.patch.dict(os.environ, wanted):
        yield


def streamed(
    folder: Path, out: Path, family: Family, plainly: Mapping[str, Path]
) -> dict[str, Path]:
    """Convert as a run does: all levels of one pass over what the converter hands over; before
    that, ``plainly`` by outtype, files as convert_hf_to_gguf.py writes them."""
    with told(family, plainly), streaming.opened(folder, outtype="F16") as conversion:
        plans = {level: quantize.prepare(conversion.plan, level) for level in ("F16", *LEVELS)}
        files = {level: plan.file(out / f"{level}.gguf") for level, plan in plans.items()}
        conversion.begin(output.name for output in files["F16"].outputs)
        stream.write(list(files.values()))
    return {level: file.out for level, file in files.items()}


def natively(folder: Path, out: Path) -> dict[str, Path]:
    """The same without llama.cpp's converter."""
    prepared = convert.prepare(folder, outtype="F16")
    plans = {level: quantize.prepare(prepared, level) for level in ("F16", *LEVELS)}
    files = {level: plan.file(out / f"{level}.gguf") for level, plan in plans.items()}
    stream.write(list(files.values()))
    return {level: file.out for level, file in files.items()}


def requantized(source: Path, out: Path) -> dict[str, Path]:
    """The levels of a file in F16, and that itself."""
    files = {level: out / f"{level}.gguf" for level in LEVELS}
    for level, file in files.items():
        quantize.quantize(source, file, ftype=level)
    return {"F16": source, **files}


def by_llama_quantize(source: Path, out: Path) -> dict[str, Path]:
    """The levels as llama.cpp's own tool makes them; none where it is not on PATH."""
    if shutil.which(QUANTIZE) is None:
        return {}
    files = {level: out / f"{level}.gguf" for level in LEVELS}
    for level, file in files.items():
        subprocess.run([QUANTIZE, source, file, level, "1"], check=True, capture_output=True)
    return files


def compared(family: Family, given: Path, folder: Path) -> Outcome:
    """Convert the checkpoint ``given`` by every way into ``folder``."""
    ways = {way: folder / way for way in ("streamed", "native", "after", "peer")}
    for path in ways.values():
        path.mkdir()
    plain = {outtype: folder / f"{outtype}.gguf" for outtype in ("F16", "F32")}
    made = {"streamed": streamed(given, ways["streamed"], family, plain)}
    reference = requantized(plain["F16"], ways["after"])
    if is_native(family):
        made["native"] = natively(given, ways["native"])
    differing = [
        f"{way} {level}"
        for way, files in made.items()
        for level, file in files.items()
        if file.read_bytes() != reference[level].read_bytes()
    ]
    peer = by_llama_quantize(plain["F16"], ways["peer"])
    differing += [
        f"{QUANTIZE} {level}"
        for level, file in peer.items()
        if contents(file) != contents(reference[level])
    ]
    loads = next(filter(None, map(refusal, reference.values())), "")
    distance = None
    if family.transformers and not loads:
        distance = difference(family, given, plain["F32"])
    return Outcome(tuple(differing), "native" in made, bool(peer), loads, distance)


def contents(path: Path) -> list[Any]:
    """Metadata and tensors, in order, but for dimensions of one: llama-quantize leaves them out."""
    file = reader.read(path)
    tensors = [
        (name, one.type, [n for n in one.shape if n != 1], file.data(one).tobytes())
        for name, one in file.tensors.items()
    ]
    return [list(file.metadata.items()), tensors]


def text() -> np.typing.NDArray[np.int32]:
    """Tokens that both vocabularies have."""
    return np.random.RandomState(0).randint(3, 256, TOKENS).astype(np.int32)


def refusal(path: Path) -> str:
    """What llama.cpp says of a file that it does not load or compute; nothing of any other."""
    try:
        with LlamaCppBackend(path, threads=1) as backend:
            for _, _, computed in backend.logits(text()[None], first=0):
                if not (np.isfinite(computed).all() and computed.std() > 0):
                    return "logits that are no numbers, or all alike"
    except errors.QpipeError as error:
        return str(error)
    return ""


def difference(family: Family, folder: Path, path: Path) -> float:
    """The mean difference of llama.cpp's logits from transformers', in float32, in their standard
    deviations."""
    whole = {"model_class": family.model_class} if family.beside else {}
    theirs = logits.transformers_logits(folder, text(), **whole)
    ours = logits.llama_cpp_logits(path, text())
    return float(np.abs(ours - theirs).mean() / theirs.std())


def described(path: Path) -> dict[str, Any]:
    """A file in golden form: {"metadata": {key: [kind, value]}, "tensors": [[name, type, shape,
    digest]]}, long arrays and digests shortened."""
    return {
        "metadata": {
            key: [values.kind_of(value), _short(samples.summarized(values.decode(value)))]
            for key, value in reader.read(path).metadata.items()
        },
        "tensors": [[*row[:3], row.sha256[:16]] for row in samples.rows_of(path)],
    }


def _short(value: Any) -> Any:
    return {**value, "sha256": value["sha256"][:16]} if isinstance(value, Mapping) else value
