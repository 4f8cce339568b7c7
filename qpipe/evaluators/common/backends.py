"""Backends, which compute the logits: an evaluator is a class for each that can measure for it.

``evaluate.backend`` chooses; left to auto, the container of the model does: a GGUF file goes to
llama.cpp, a checkpoint folder to transformers, whatever is installed here. Whether a model fits
into memory is asked before it is loaded.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import OutOfMemoryError
from qpipe.evaluators.common import computing
from qpipe.evaluators.common.parameters import KvParams
from qpipe.hf.modules import MODULES
from qpipe.machine.capacity import usable_memory
from qpipe.stages.base import CHECKPOINT, GGUF, Order, installed
from qpipe.stages.device import DeviceParams, computes_on
from qpipe.stages.evaluator import Evaluator, only_file
from qpipe.support import extras

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Backend

NO_DISTRIBUTIONS = {
    "llama-server": (
        "llama-server tells log-probabilities of the text's own tokens and of those that the model "
        "itself finds likeliest, and a KL divergence needs those of the reference's: set "
        "evaluate.backend=llama.cpp"
    )
}
"""See `Stage.lacking`."""


class Opener(abc.ABC):
    """A backend as an evaluator's class knows it, and the way it opens a model."""

    imports: ClassVar[tuple[str, ...]] = ()
    """The modules that opening a model imports, if they take seconds."""
    containers: ClassVar[tuple[str, ...]]
    """The containers of a model that it reads."""

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
    def refuse(params: Any, order: Order) -> None:
        """Raise what opening the model would, as far as it is known before anything runs."""
        return

    @staticmethod
    @abc.abstractmethod
    def open(model: Path, params: Any, *, threads: int) -> AbstractContextManager[Backend]:
        """The model in an artifact's folder, loaded; ``params`` are the evaluator's.

        Raises EngineMissingError, CheckpointError (the model), OutOfMemoryError.
        """


class LlamaCpp(Opener):
    """llama.cpp in the worker's own process."""

    containers = (GGUF,)

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
        from qpipe.llamacpp.library import problem

        return problem()

    @staticmethod
    def open(model: Path, params: Any, *, threads: int) -> AbstractContextManager[Backend]:
        """The one GGUF file in the folder."""
        from qpipe.llamacpp.backend import LlamaCppBackend

        file = only_file(model, suffix=".gguf")
        require_memory(file.stat().st_size, name=file.name)
        kv = params.kv if isinstance(params, KvParams) else None
        return LlamaCppBackend(file, threads=threads, kv=kv)


class Transformers(Opener):
    """transformers in the worker's own process: plain and quantized checkpoints, and GGUF files
    dequantized."""

    imports = MODULES
    containers = (CHECKPOINT, GGUF)

    @staticmethod
    def fingerprint() -> Mapping[str, Json]:
        """Versions of what computes, of what multiplies quantized weights for it, and of the way
        they are read (`qpipe.hf.load`)."""
        kernels = ("auto-round", "bitsandbytes", "compressed-tensors", "gptqmodel", "torchao")
        names = ("transformers", "torch", *kernels)
        versions = {name: installed(name) for name in names}
        return {"name": "transformers", "reading": 3, **versions}

    @staticmethod
    def resources(*, cores: int) -> Resources:
        """In float32 bf16 weights take twice what their file has; torch and transformers take the
        rest."""
        return Resources(
            cpus=max(1, cores // 2),
            memory=2 << 30,
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
    def refuse(params: Any, order: Order) -> None:
        """See `qpipe.evaluators.common.computing`."""
        computing.refuse(params, order)

    @staticmethod
    def open(model: Path, params: Any, *, threads: int) -> AbstractContextManager[Backend]:
        """The checkpoint in the folder, or its one GGUF file."""
        from qpipe.hf.backend import TransformersBackend

        require_memory(computing.checkpoint_memory(model), name="the checkpoint")
        return TransformersBackend(
            model,
            threads=threads,
            device=computes_on(params),
            dtype=params.dtype,
            kernel=params.kernel,
        )


class LogitsEvaluator(Evaluator):
    """An evaluator that reads the logits of the model in role ``model`` through ``backend``.

    A subclass for another backend needs that, and a params model whose ``backend`` is its name.
    """

    backend: ClassVar[type[Opener]] = LlamaCpp

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.accepts = {"model": cls.backend.containers}
        cls.imports = cls.backend.imports

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """The backend's; protocols are added by those that have one."""
        return cls.backend.fingerprint()

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """The backend's, and a GPU if that is the device."""
        return on_device(cls.backend.resources(cores=cores), params)

    @classmethod
    def check(cls) -> str | None:
        """The backend's."""
        return cls.backend.check()

    @classmethod
    def refuse(cls, params: Any, order: Order) -> None:
        """The backend's."""
        cls.backend.refuse(params, order)


def on_device(needs: Resources, params: Any) -> Resources:
    """The needs of a measurement, with a GPU if it computes on one."""
    return replace(needs, gpus=params.gpus if isinstance(params, DeviceParams) else 0)


def require_memory(needed: int, *, name: str) -> None:
    """Raise OutOfMemoryError, with the numbers, if so many bytes can never be there."""
    available = usable_memory()
    if needed > available:
        raise OutOfMemoryError(
            f"{name} needs about {needed / 1e9:.1f} GB of memory, and this machine has "
            f"{available / 1e9:.1f} GB: measure a smaller quantization, or on a larger machine; "
            "evaluate=none leaves the measurement out"
        )
