"""vllm: checkpoints that vLLM loads, and the command that serves each."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qpipe.errors import QpipeError, StageError, UsageError
from qpipe.evaluators.common import vllm_environment, vllm_support
from qpipe.export.model import ExportedModel
from qpipe.export.names import ExportName, export_names
from qpipe.export.placing import place
from qpipe.export.serving import ServedLength, served_length
from qpipe.export.target import Export, Exported, ExportedFile, ExportTarget
from qpipe.machine import gpu_memory
from qpipe.machine.capacity import usable_cores, usable_memory
from qpipe.report.numbers import size
from qpipe.runtimes.overheads import GPU_SHARE

_USUAL = 24 * 10**9
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt")


@dataclass(frozen=True)
class _Served:
    """A model in its folder (relative, ``.`` for the export's own), and how it is served."""

    model: ExportedModel
    name: ExportName
    folder: str
    config: Mapping[str, Any]
    length: ServedLength
    cache: str

    def command(self, out: Path) -> str:
        words = ["vllm", "serve", str(out / self.folder), "--served-model-name", self.name.stem]
        words += ["--max-model-len", str(self.length.tokens)]
        words += ["--kv-cache-dtype", self.cache, "--gpu-memory-utilization", str(GPU_SHARE)]
        if self.length.cards > 1:
            words += ["--tensor-parallel-size", str(self.length.cards)]
        return shlex.join(words)

    def record(self, out: Path) -> dict[str, Any]:
        return {
            "name": self.name.stem,
            "folder": self.folder,
            "command": self.command(out),
            "max_model_len": self.length.tokens,
            "kv_cache_dtype": self.cache,
            "gpus": self.length.cards,
            "loaded": None,
        }


class ServedTarget(ExportTarget):
    """Folders for `vllm serve`."""

    name = "vllm"

    def refuse(self, export: Export) -> None:
        """Refuse what vLLM is known not to load, and folders that are not whole."""
        if export.split_size is not None:
            raise UsageError("--split-size: is for GGUF files, and vLLM takes checkpoints")
        for model in export.models:
            why = _why_not(model)
            if why is not None:
                raise UsageError(f"{model.row.name}: {why}")

    def write(self, export: Export) -> Exported:
        """Place each checkpoint, and reckon how long its sequences can be."""
        names = export_names(export.models, export.name)
        memory = _memory(export)
        files: list[ExportedFile] = []
        served: list[_Served] = []
        for model, name in zip(export.models, names, strict=True):
            folder = "." if len(names) == 1 else name.stem
            files += _placed(export, model, folder)
            served.append(_served(export, model, name, folder, memory))
        commands = {f"serve {one.name.stem}": one.command(export.out) for one in served}
        record = [one.record(export.out) for one in served]
        return Exported(files, commands, {"vllm": record, "memory_bytes": memory})

    def use(self, export: Export, exported: Exported) -> Exported:
        """Load each model and let it write a token, where vLLM's environment is installed."""
        environment = vllm_environment.environment()
        if environment.problem() is not None:
            export.note(
                "vLLM is not installed here, so nothing was loaded: `qpipe engines install vllm`, "
                "then export again, loads each model"
            )
            return exported
        records = [_loaded(export, dict(one)) for one in exported.more[self.name]]
        return replace(exported, more={**exported.more, self.name: records})


def _why_not(model: ExportedModel) -> str | None:
    """The reason why vLLM does not load a model, with what to do; None if nothing says so."""
    if model.gguf is not None:
        return (
            "vLLM reads GGUF files of some architectures only, slowly, and by a tokenizer from "
            "elsewhere; export a checkpoint (quantize=gptq, awq, fp8, …), or serve the file with "
            "llama.cpp (--to folder)"
        )
    folder = model.artifact.path
    for reason in vllm_support.reasons(folder, on_cpu=False):
        return f"vLLM does not load this checkpoint: {reason}; --to folder takes it as it is"
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        return f"it has no tokenizer ({', '.join(_TOKENIZERS[:2])}), without which vLLM serves none"
    return _missing(folder)


def _missing(folder: Path) -> str | None:
    """A file of weights that an index names and that is not there."""
    for index in folder.glob("*.safetensors.index.json"):
        named = json.loads(index.read_text())["weight_map"].values()
        for name in sorted(set(named)):
            if not (folder / name).is_file():
                return f"{index.name} names {name}, which is not there; run the recipe again"
    return None


def _placed(export: Export, model: ExportedModel, folder: str) -> list[ExportedFile]:
    files = []
    for file in model.files:
        name = str(Path(folder) / file.relative_to(model.artifact.path))
        place(file, export.folder / name, export.digests)
        files.append(ExportedFile(name, model.row.name))
    return files


def _memory(export: Export) -> int:
    """Bytes of the memory of one card: as asked for, as the machine's largest has, or usual."""
    memory = export.memory or gpu_memory.most()
    if memory is None:
        export.note(
            "no GPU is here: --max-model-len is for one of 24 GB; --memory 80GB is for another"
        )
    return memory or _USUAL


def _served(
    export: Export, model: ExportedModel, name: ExportName, folder: str, memory: int
) -> _Served:
    config, _ = vllm_support.read(model.artifact.path)
    cache = _cache_type(config)
    weights = sum(file.stat().st_size for file in model.files if file.suffix == ".safetensors")

    def length(value_bytes: int) -> ServedLength:
        return served_length(
            config,
            weights=weights,
            memory=memory,
            utilization=GPU_SHARE,
            value_bytes=value_bytes,
        )

    own = length(1 if cache == "fp8" else 2)
    if not own.tokens:
        raise UsageError(
            f"{model.row.name}: its weights ({size(weights)}) do not fit {own.cards} GPUs of "
            f"{size(memory)}; give larger ones by --memory, or a smaller format by --only"
        )
    _tell(export, model, config, own, length(1) if cache == "auto" else own)
    return _Served(model, name, folder, config, own, cache)


def _tell(
    export: Export,
    model: ExportedModel,
    config: Mapping[str, Any],
    own: ServedLength,
    in_fp8: ServedLength,
) -> None:
    row, folder = model.row.name, model.artifact.path
    if own.context is not None and own.tokens < own.context:
        more = f"; with --kv-cache-dtype fp8 {in_fp8.tokens}" if in_fp8.tokens > own.tokens else ""
        export.note(f"{row}: reads {own.context} tokens, of which {own.tokens} fit{more}")
    for reason in vllm_support.reasons(folder, on_cpu=True):
        export.note(f"{row}: for GPUs: {reason}")
    if "auto_map" in config:
        export.note(
            f"{row}: config.json names code of its own (auto_map); the command has no "
            "--trust-remote-code, so vLLM takes its own implementation or refuses"
        )
    settings = folder / "tokenizer_config.json"
    texts = settings.read_text("utf-8", "replace") if settings.is_file() else ""
    if "chat_template" not in texts and not any(folder.glob("chat_template.*")):
        export.note(f"{row}: has no chat template: /v1/completions works, chats do not")


def _cache_type(config: Mapping[str, Any]) -> str:
    """FP8 where scales for it are in the checkpoint, else what the model computes in."""
    settings = config.get("quantization_config")
    scheme = settings.get("kv_cache_scheme") if isinstance(settings, Mapping) else None
    return "fp8" if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8 else "auto"


def _loaded(export: Export, record: dict[str, Any]) -> dict[str, Any]:
    """The record of a model that was loaded, or a note why it was not."""
    from qpipe.evaluators.common.vllm_engine import VllmEngine

    folder = export.out / record["folder"]
    environment = vllm_environment.environment()
    for reason in _not_here(folder, record["gpus"], cuda=environment.cuda):
        export.note(f"{record['name']}: was not loaded: {reason}")
        return record
    try:
        with VllmEngine(
            folder,
            environment,
            threads=usable_cores(),
            window=16,
            sequences=1,
            eager=True,
            at_once=True,
        ) as engine:
            engine.write([[1]], [1], [])
            return {**record, "loaded": engine.version}
    except (QpipeError, OSError) as error:
        raise StageError(
            f"{export.out} is written, but vLLM does not load {record['name']}: {error}"
        ) from None


def _not_here(folder: Path, cards: int, *, cuda: bool) -> Iterator[str]:
    """The reasons why a model cannot be loaded on this machine."""
    if cuda:
        if cards > 1:
            yield f"it needs {cards} GPUs, and is tried on one"
        return
    yield from vllm_support.reasons(folder, on_cpu=True)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    # On a CPU vLLM computes plain weights in float32, which are 16 bits each in most files.
    if 2 * weights > usable_memory():
        yield f"its {weights / 1e9:.1f} GB are too much for this machine's memory"
