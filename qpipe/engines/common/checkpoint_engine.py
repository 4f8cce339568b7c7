"""What engines that write checkpoint folders have in common: calibration tokens, rules for modules,
the files that go along, and what the finished folder is."""

from __future__ import annotations

import abc
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from qpipe.calibration.text.samples import token_ids
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import ahead, module_mix, output_check, preflight, unsupported
from qpipe.engines.common.checkpoint_files import bring_along, quantizable
from qpipe.engines.common.module_rules import ModuleRule, resolve
from qpipe.engines.common.output_check import Wish
from qpipe.engines.common.unsupported import NOT_LINEAR
from qpipe.errors import RecipeError, StageError
from qpipe.hf.device import computed_on, require
from qpipe.hf.modules import MODULES
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.card import require_cuda, require_room
from qpipe.stages.device import CUDA, computes_on
from qpipe.stages.engine import Engine
from qpipe.support import extras

# Where a source that was dequantized lies while an engine works.
_PLAIN = ".dequantized"


@dataclass(frozen=True)
class Target:
    """The model to be quantized, by config.json and headers alone: all that a plan knows.

    ``config`` is the source's config.json; ``modules`` are the matrices of ``source`` that can be
    quantized, with (rows, columns); ``rules`` those of single ones among them.
    """

    source: Path
    config: Mapping[str, Any]
    modules: Mapping[str, tuple[int, int]]
    rules: Mapping[str, ModuleRule]

    @property
    def skipped(self) -> list[str]:
        """The modules that a rule leaves alone."""
        return [name for name, rule in self.rules.items() if rule.skip]

    @property
    def quantized(self) -> Mapping[str, tuple[int, int]]:
        """The modules that no rule leaves alone, with (rows, columns)."""
        return {name: shape for name, shape in self.modules.items() if name not in self.skipped}


@dataclass(frozen=True)
class Task(Target):
    """One quantization, ready to be done: nothing about it is left to find out.

    ``samples`` are the calibration's token ids.
    """

    out: Path
    samples: list[list[int]]
    threads: int
    partial: Path | None

    @property
    def tokens(self) -> int:
        """In all samples."""
        return sum(map(len, self.samples))

    @property
    def batch(self) -> int:
        """Samples at a time: as many as make 4096 tokens, at most 8. Part of what shapes bytes."""
        longest = max(map(len, self.samples), default=1)
        return max(1, min(8, 4096 // longest))


class CheckpointEngine(Engine):
    """An engine of this environment that makes a checkpoint folder of a checkpoint folder.

    ``PACKAGES`` shape the bytes, the first being the engine's own; ``EXTRA`` installs them.
    ``REFUSES`` are model types that it cannot quantize, and why (`unsupported.refuse`).
    """

    REFUSES: ClassVar[Mapping[str, str]] = NOT_LINEAR
    PACKAGES: ClassVar[tuple[str, ...]]
    EXTRA: ClassVar[str]
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.CHECKPOINT,)}
    foresees = True
    imports = MODULES

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """The engine, what it computes with, and what writes the files."""
        versions = {name: base.installed(name) for name in (*cls.PACKAGES, "safetensors")}
        return {"name": cls.PACKAGES[0], **versions}

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """All cores, and a GPU if that is the device; the model, a layer's activations and torch in
        memory."""
        gpus = 1 if computes_on(params) == CUDA else 0
        return Resources(cpus=cores, memory=2 << 30, gpus=gpus, memory_per_input_byte=2.0)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the packages are installed."""
        missing = [name for name in cls.PACKAGES if base.installed(name) == "missing"]
        if not missing:
            return None
        return f"{cls.PACKAGES[0]}: {', '.join(missing)} not installed: {extras.command(cls.EXTRA)}"

    @classmethod
    def preview(cls, params: Any, order: base.Order) -> base.Preview | None:
        """About its size, from config.json; of a mix what its target allows, or what it comes
        to."""
        if getattr(params, "target", None) is None:
            return ahead.of_checkpoint(params, order)
        if order.coming:
            return module_mix.preview(params, order)
        mix = module_mix.chosen(params, order)
        assert mix is not None, params
        facts = {"format": mix.size.format, "size_bytes": mix.size.file_bytes, "notes": [mix.note]}
        facts |= {"weights": mix.size.weights, "bits_per_weight": mix.size.bits_per_weight}
        return base.Preview(facts, {}, about=True)

    def run(self, params: Any, work: base.Work) -> ModelFacts:
        """Raises RecipeError for settings that the model's shapes do not allow, CheckpointError for
        a model that is damaged, or for an output that is not whole."""
        mix = module_mix.chosen(params, work)
        if mix is None:
            return self._run(params, work)
        facts = self._run(mix.given_to(params), work)
        most = params.target.size
        if most is not None and facts.size_bytes > most:
            raise StageError(
                f"quantize.target: the files are {facts.size_bytes:,} bytes and may be {most:,}: a "
                "fault of qpipe, which expected no more; ask for a little less"
            )
        rules = [[pattern, wishes] for pattern, wishes in mix.rules]
        own = {"bits": mix.bits, "group_size": mix.group_size, "modules": rules}
        return facts.adding(notes=[mix.note, *(facts.notes or ())], mix=own)

    def _run(self, params: Any, work: base.Work) -> ModelFacts:
        plain, note = self._readable(work)
        task = self.begin(params, plain)
        require(computes_on(params), alone=True)
        tool_facts: dict[str, Any] = dict(self.make(params, task))
        finish(task)
        facts = self.facts(params, task)
        shutil.rmtree(work.out / _PLAIN, ignore_errors=True)
        notes = [*([note] if note else []), *tool_facts.pop("notes", ()), *(facts.notes or ())]
        delivered = {"calibration_tokens": task.tokens} if task.samples else {}
        where = computed_on(computes_on(params), task.threads)
        return facts.adding(notes=notes, computed_on=where, **{**delivered, **tool_facts})

    @classmethod
    def refuse(cls, params: Any, order: base.Order) -> None:
        """Raises RecipeError for rules without effect and for settings that the model's
        architecture or shapes do not allow, CheckpointError for a model that is damaged."""
        from qpipe.gguf import jsonfile
        from qpipe.hf.implementations import refuse_code

        if "model" in order.inputs:
            params = module_mix.settled(params, order)
            target = read_target(params, order, dequantizes=True)
            cls._allow(params, target)
            require_cuda(params, field="quantize")
            needed = cls.card_memory(params, target)
            require_room(params, needed, field="quantize", name=cls.PACKAGES[0])
            return
        if "model" in order.configs:
            config = jsonfile.load(order.configs["model"])
            refuse_code(config, order.configs["model"])
            _refuse_again(params, order.configs["model"].parent)
            cls.allow_config(params, config)
        require_cuda(params, field="quantize")

    def _readable(self, work: base.Work) -> tuple[base.Work, str | None]:
        """``work`` with a source that tools can load, where that takes a copy of it, and what is to
        be said of it: one that is quantized already comes dequantized, and one whose config.json
        asks for a package (flash_attention_2) without that wish."""
        from qpipe.gguf.config import Config
        from qpipe.hf.implementations import link_without, wants_package
        from qpipe.packed import dequantize

        source = work.inputs["model"]
        settings = unsupported.quantization_settings(source)
        if settings is None and not wants_package(
            Config.read(source).fields, source / "config.json"
        ):
            return work, None
        plain = (work.partial or work.out) / _PLAIN
        if not (plain / "config.json").is_file():  # a run before this one may have come so far
            shutil.rmtree(plain, ignore_errors=True)
            plain.mkdir(parents=True)
            make = link_without if settings is None else dequantize.dequantize
            make(source, plain)
        partial = None if work.partial is None else work.partial / "engine"
        inputs = {**work.inputs, "model": plain}
        note = None if settings is None else settings.note
        return replace(work, inputs=inputs, partial=partial), note

    def begin(self, params: Any, work: base.Work) -> Task:
        """The task, after all that can be known to fail before it, for the cost of a layer."""
        task = prepare(params, work)
        self._allow(params, task)
        if preflight.is_needed(task.source):
            preflight.run(type(self), params, work)
        return task

    @classmethod
    def _allow(cls, params: Any, target: Target) -> None:
        cls.allow_config(params, target.config)
        unsupported.refuse_fused(target.source, target.config)
        cls.allow(params, target)

    @classmethod
    def card_memory(cls, params: Any, target: Target) -> int:
        """The least bytes of a GPU's memory that it takes: those of the largest matrix in half
        precision. Most engines have a layer there at a time, and more beside it."""
        return 2 * max((rows * columns for rows, columns in target.quantized.values()), default=0)

    @classmethod
    def allow_config(cls, params: Any, config: Mapping[str, Any]) -> None:
        """Raise RecipeError for what config.json decides: asked before a download too."""
        unsupported.refuse(cls.PACKAGES[0], cls.REFUSES, config)

    @classmethod
    def allow(cls, params: Any, target: Target) -> None:
        """Raise RecipeError for what the shapes of the matrices do not allow.

        Called in a plan if the source is at hand, and again before the work.
        """
        size = getattr(params, "group_size", -1)
        for name, (_, columns) in target.quantized.items():
            rule = target.rules.get(name)
            own = rule.group_size if rule is not None and rule.group_size is not None else size
            if own > 0 and columns % own:
                raise RecipeError(
                    f"quantize.group_size={own}: rows of {name} have {columns} weights, which are "
                    "no multiple; choose another size, or -1 for one group a row"
                )

    @abc.abstractmethod
    def make(self, params: Any, task: Task) -> Mapping[str, Json]:
        """Write the quantized checkpoint into ``task.out``; facts that the tool told."""

    def facts(self, params: Any, task: Task) -> ModelFacts:
        """Facts of the checkpoint that came out, checked against what went in."""
        return facts(task.out, source=task.source, wish=wish(self.PACKAGES[0], params, task))


def _refuse_again(params: Any, folder: Path) -> None:
    bits, allow = params.bits_per_weight(), params.allow_requantize
    unsupported.refuse_quantized(folder, bits, allow=allow)


def read_target(params: Any, order: base.Order, *, dequantizes: bool = False) -> Target:
    """Return what is to be quantized of the model in ``order``, and how.

    The model may be quantized already where the engine ``dequantizes`` it first, as far as that
    makes sense. Raises RecipeError for a rule without effect, CheckpointError for a model that is
    damaged or quantized otherwise.
    """
    from qpipe.gguf.config import Config
    from qpipe.hf.implementations import refuse_code

    source = order.inputs["model"]
    config = Config.read(source).fields
    refuse_code(config, source / "config.json")
    if dequantizes:
        _refuse_again(params, source)
    else:
        unsupported.refuse_any_quantized(source)
    modules = quantizable(source, output=getattr(params, "lm_head", False))
    return Target(source, config, modules, resolve(params.modules, modules))


def prepare(params: Any, work: base.Work) -> Task:
    """Return the task that ``work`` asks for. Raises RecipeError for a rule without effect."""
    target = read_target(params, work)
    return Task(
        source=target.source,
        config=target.config,
        modules=target.modules,
        rules=target.rules,
        out=work.out,
        samples=token_ids(work.inputs["calibration"]) if "calibration" in work.inputs else [],
        threads=work.threads,
        partial=work.partial,
    )


def finish(task: Task) -> None:
    """Make a tool's output what the source was but for its weights: the source's config.json with
    the tool's ``quantization_config`` and precision, its tokenizer and generation files. The same
    weights get the same bytes."""
    from qpipe.packed.write import sort_metadata

    for file in task.out.glob("*.safetensors"):
        # safetensors 0.8.0 writes its metadata in another order each time.
        sort_metadata(file)
    config = task.out / "config.json"
    tool_config = json.loads(config.read_bytes())
    source_config = json.loads((task.source / "config.json").read_bytes())
    for name in ("dtype", "torch_dtype"):
        source_config.pop(name, None)
    # transformers 5 writes dtype, 4 torch_dtype.
    source_config["dtype"] = tool_config.get("dtype") or tool_config.get("torch_dtype")
    source_config["quantization_config"] = tool_config["quantization_config"]
    config.write_text(json.dumps(source_config, indent=2, sort_keys=True) + "\n")
    # transformers 5.17.0 writes tokenizers anew, and not all of their files.
    bring_along(task.source, task.out)


def wish(engine: str, params: Any, target: Target) -> Wish:
    """Return what ``params`` ask for, to be compared with what came out."""
    bits, group_size = getattr(params, "bits", None), getattr(params, "group_size", None)
    return Wish(
        engine=engine,
        source=target.source,
        modules=target.modules,
        rules=target.rules,
        bits=bits if isinstance(bits, int) else None,
        group_size=group_size,
        scaled=params.method == "awq",
    )


def facts(folder: Path, *, source: Path | None = None, wish: Wish | None = None) -> ModelFacts:
    """Facts of a checkpoint for reports, read from its headers (`stages.engine.model_facts`).

    Also the check of its structure: raises CheckpointError for a tensor that is missing, of a
    wrong type or of a wrong shape, by its own config.json and by the checkpoint ``source`` that it
    was made of; for scales that are no finite numbers, and matrices without one that is not 0; and
    where ``wish`` was not fulfilled (`output_check.check`), whose ``notes`` are added.
    """
    from qpipe.packed import scales, structure
    from qpipe.stages.engine import model_facts

    contents = structure.read(folder)
    scales.check(contents)
    if source is not None:
        structure.compare(contents, source)
    notes = [] if wish is None else output_check.check(contents, wish)
    return model_facts(**contents.facts).adding(notes=notes)
