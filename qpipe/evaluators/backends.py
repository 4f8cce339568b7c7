"""What computes the logits: an evaluator is a class for each backend that can measure for it.

``evaluate.backend`` chooses; left to auto, the format of the model does: a GGUF file goes to
llama.cpp, a checkpoint folder to transformers, whatever is installed here.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import EngineMissingError
from qpipe.evaluators import memory
from qpipe.evaluators.llamacpp_options import KvParams
from qpipe.machine import gpus
from qpipe.stages.base import CHECKPOINT, GGUF, installed
from qpipe.stages.evaluator import Evaluator, only_file
from qpipe.support import extras

if TYPE_CHECKING:
    from qpipe.evaluators.metrics.backend import Backend


class Opener(abc.ABC):
    """A backend as an evaluator's class knows it, and the way it opens a model."""

    formats: ClassVar[tuple[str, ...]]
    """The formats of a model that it reads."""

    @staticmethod
    @abc.abstractmethod
    def fingerprint() -> Mapping[str, Json]:
        """Name and versions of what computes; part of the key."""

    @staticmethod
    @abc.abstractmethod
    def resources(*, cores: int) -> Resources:
        """Resources that a measurement occupies."""

    @staticmethod
    @abc.abstractmethod
    def check() -> str | None:
        """Why it does not work here, with what helps, or None."""

    @staticmethod
    @abc.abstractmethod
    def open(model: Path, params: Any, *, threads: int) -> AbstractContextManager[Backend]:
        """The model in an artifact's folder, loaded; ``params`` are the evaluator's.

        Raises EngineMissingError, CheckpointError (the model), OutOfMemoryError.
        """


class LlamaCpp(Opener):
    """llama.cpp in the worker's own process."""

    formats = (GGUF,)

    @staticmethod
    def fingerprint() -> Mapping[str, Json]:
        """The wheel that brings llama.cpp."""
        return {"name": "llama.cpp", "xllamacpp": installed("xllamacpp")}

    @staticmethod
    def resources(*, cores: int) -> Resources:
        """Half the cores, so that one evaluates while another loads; the model, its buffers and the
        logits of a batch, once as computed and once as handed out, in memory."""
        return Resources(
            cpus=max(1, cores // 2),
            memory=1 << 30,
            memory_per_input_byte=1.0,
            sized_by="model",
        )

    @staticmethod
    def check() -> str | None:
        """Return the problem, or None if the wheel is the version whose C structs are known."""
        from qpipe.llamacpp.library import load

        try:
            load()
        except EngineMissingError as error:
            return str(error)
        return None

    @staticmethod
    def open(model: Path, params: Any, *, threads: int) -> AbstractContextManager[Backend]:
        """The one GGUF file in the folder."""
        from qpipe.llamacpp.backend import LlamaCppBackend

        file = only_file(model, suffix=".gguf")
        memory.require(file.stat().st_size, what=file.name)
        kv = params.kv if isinstance(params, KvParams) else None
        return LlamaCppBackend(file, threads=threads, kv=kv)


class Transformers(Opener):
    """transformers in the worker's own process: plain and quantized checkpoints, and GGUF files
    dequantized."""

    formats = (CHECKPOINT, GGUF)

    @staticmethod
    def fingerprint() -> Mapping[str, Json]:
        """Versions of what computes, of what multiplies quantized weights for it, and of the way
        they are read (`qpipe.hf.load`)."""
        kernels = ("auto-round", "bitsandbytes", "compressed-tensors", "gptqmodel", "torchao")
        names = ("transformers", "torch", *kernels)
        versions = {name: installed(name) for name in names}
        return {"name": "transformers", "reading": 2, **versions}

    @staticmethod
    def resources(*, cores: int) -> Resources:
        """A GPU where there is one. In float32 bf16 weights take twice what their file has; torch
        and transformers take the rest."""
        return Resources(
            cpus=max(1, cores // 2),
            memory=2 << 30,
            gpus=1 if gpus.visible() else 0,
            memory_per_input_byte=2.0,
            sized_by="model",
        )

    @staticmethod
    def check() -> str | None:
        """Return the problem, or None if the extra is installed."""
        lacking = [name for name in ("torch", "transformers") if installed(name) == "missing"]
        if not lacking:
            return None
        return (
            f"evaluating a checkpoint needs {' and '.join(lacking)}, not installed here: "
            + extras.command("hf")
        )

    @staticmethod
    def open(model: Path, params: Any, *, threads: int) -> AbstractContextManager[Backend]:
        """The checkpoint in the folder, or its one GGUF file."""
        from qpipe.hf.backend import TransformersBackend

        memory.require(memory.of_checkpoint(model), what="the checkpoint")
        return TransformersBackend(model, threads=threads)


class LogitsEvaluator(Evaluator):
    """An evaluator that reads the logits of the model in role ``model`` through ``backend``.

    A subclass for another backend needs that, and a params model whose ``backend`` is its name.
    """

    backend: ClassVar[type[Opener]] = LlamaCpp

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.accepts = {"model": cls.backend.formats}

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """The backend's; protocols are added by those that have one."""
        return cls.backend.fingerprint()

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """The backend's."""
        return cls.backend.resources(cores=cores)

    @classmethod
    def check(cls) -> str | None:
        """The backend's."""
        return cls.backend.check()
