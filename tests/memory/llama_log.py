"""Sizes of buffers as llama.cpp itself says them in its log, of models without weights.

A header alone is written, with the shapes that config.json asks for and no vocabulary; llama.cpp
loads it with ``no_alloc``, and reserves its graphs as for the whole model.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpipe.gguf import convert, quantize, stream, values
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.config import Config
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.rows import ZeroRows
from qpipe.gguf.types import GGMLType
from qpipe.llamacpp import c_api, library
from qpipe.memory import RunSetting

_LOGGER = logging.getLogger("qpipe.llamacpp")
_SIZE = r"size = +([\d.]+) MiB"


@dataclass
class LoggedSizes:
    """MiB by part."""

    kv: float = 0.0
    states: float = 0.0
    compute: float = 0.0
    output: float = 0.0
    lines: list[str] = field(default_factory=list)


def header(config: Mapping[str, Any], out: Path, kind: str = "F16") -> Path:
    """A GGUF file of such a model, without its weights, which all read as 0."""
    stored = Config(Path("config.json"), config)
    request = TypeRequest.of(kind)
    plan = quantize.plan_ahead(convert.foresee_config(stored), request, has_imatrix=False)
    arch = plan.architecture
    vocabulary = next(o.shape[0] for o in plan.outputs if o.name == "token_embd.weight")
    metadata = plan.metadata | {
        "tokenizer.ggml.model": values.string("no_vocab"),
        f"{arch}.vocab_size": values.u32(vocabulary),
    }
    assert math.prod(plan.outputs[0].shape)
    return _written(metadata, plan.outputs, out)


def _written(metadata: values.Metadata, outputs: Sequence[OutputTensor], out: Path) -> Path:
    out.write_bytes(stream.header(metadata, outputs))
    with out.open("r+b") as file:  # a hole in place of the weights
        file.truncate(out.stat().st_size + sum(stream.padded(o.nbytes) for o in outputs))
    return out


def header_of(
    arch: str, numbers: Mapping[str, float], tensors: Mapping[str, tuple[int, ...]], out: Path
) -> Path:
    """A GGUF file of an architecture that qpipe does not write: its hyperparameters without the
    architecture's name, and its tensors' shapes in numpy order; those of one dimension in F32."""
    metadata = {
        "general.architecture": values.string(arch),
        "tokenizer.ggml.model": values.string("no_vocab"),
        f"{arch}.vocab_size": values.u32(tensors["token_embd.weight"][0]),
        **{
            f"{arch}.{key}": values.f32(n) if isinstance(n, float) else values.u32(n)
            for key, n in numbers.items()
        },
    }
    outputs = [
        OutputTensor(name, shape, _kind(name, shape), ZeroRows(name, shape[-1]))
        for name, shape in tensors.items()
    ]
    return _written(metadata, outputs, out)


def _kind(name: str, shape: tuple[int, ...]) -> GGMLType:
    whole = len(shape) == 1 or not name.endswith(".weight") or "conv1d" in name
    return GGMLType.F32 if whole else GGMLType.F16


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines that llama.cpp logs meanwhile."""
    lines: list[str] = []

    class _Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, level = _Lines(), _LOGGER.level
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.DEBUG)
    _LOGGER.propagate = False  # thousands of lines, of which a few are looked at
    try:
        yield lines
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.propagate = True
        _LOGGER.setLevel(level)


class Weightless:
    """A model that llama.cpp knows all of but the weights."""

    def __init__(self, path: Path) -> None:
        self.lib = library.load()
        params = self.lib.c.llama_model_default_params()
        params.n_gpu_layers, params.no_alloc, params.load_mode = 0, True, c_api.LOAD_NONE
        self.model = self.lib.c.llama_model_load_from_file(bytes(path), params)
        assert self.model, self.lib.log.reason()

    def sizes(self, setting: RunSetting) -> LoggedSizes:
        """What a context in this setting takes."""
        params = self.lib.c.llama_context_default_params()
        params.n_ctx = setting.context * setting.sequences
        params.n_batch, params.n_ubatch = setting.batch, setting.ubatch
        params.n_seq_max = setting.sequences
        params.n_outputs_max = setting.outputs or setting.sequences
        params.type_k = c_api.CACHE_TYPES[setting.kv_k]
        params.type_v = c_api.CACHE_TYPES[setting.kv_v]
        params.flash_attn_type = c_api.FLASH_ATTENTION["on" if setting.flash else "off"]
        params.swa_full, params.kv_unified = setting.swa_full, setting.unified
        with logged() as lines:
            context = self.lib.c.llama_init_from_model(self.model, params)
        assert context, lines[-5:]
        self.lib.c.llama_free(context)
        return _read(lines)

    def close(self) -> None:
        """Free the model."""
        self.lib.c.llama_model_free(self.model)


def _read(lines: list[str]) -> LoggedSizes:
    sizes = LoggedSizes(lines=lines)
    for line in lines:
        if match := re.search(rf"{_SIZE} \(.*cells.*K \(", line):
            sizes.kv += float(match[1])
        elif match := re.search(rf"{_SIZE} \(.*R \(", line):
            sizes.states += float(match[1])
        elif match := re.search(rf"compute buffer {_SIZE}", line):
            sizes.compute += float(match[1])
        elif match := re.search(rf"output buffer {_SIZE}", line):
            sizes.output += float(match[1])
    return sizes
