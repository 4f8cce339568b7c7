"""convert, to a checkpoint: as it was published, or in another precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import checkpoint_engine, checkpoint_files, unsupported
from qpipe.engines.common.gguf_engine import origin
from qpipe.errors import CheckpointError
from qpipe.hf.quantized import AS_IT_IS
from qpipe.results.model import ModelFacts
from qpipe.stages import base


class CastParams(base.Params):
    """A checkpoint in one precision, or as it is."""

    to: Literal["checkpoint"] = Field(
        "checkpoint", description="The container that comes out: a checkpoint folder."
    )
    engine: Literal["cast"] = Field("cast", description="What does it: qpipe itself.")
    dtype: Literal["source", "fp32", "fp16", "bf16"] = Field(
        "source",
        description="The precision of the weights. source: every file as it is, quantized or not.",
    )


class Cast(base.Stage):
    """A stage whose checkpoints quantized ones are compared with, and other tools start from."""

    kind = "convert"
    version = 1
    roles = ("checkpoint",)
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": (base.CHECKPOINT,)}
    Params = CastParams

    @classmethod
    def makes(cls, params: CastParams) -> str:
        """A checkpoint folder."""
        return base.CHECKPOINT

    @classmethod
    def fingerprint(cls, params: CastParams) -> Mapping[str, Json]:
        """Our own code."""
        return {"name": "qpipe.packed", "version": 1}

    @classmethod
    def resources(cls, params: CastParams, *, cores: int) -> Resources:
        """Reading and writing bound it."""
        return Resources(cpus=1, memory=256 << 20)

    @classmethod
    def refuse(cls, params: CastParams, order: base.Order) -> None:
        """Raises CheckpointError for another precision of weights that are quantized already, and
        for those that config.json contradicts."""
        config = order.configs.get("checkpoint")
        whole = order.inputs.get("checkpoint")
        if params.dtype == "source":
            if whole is not None:
                _check_packed(whole)
            return
        folder = whole or (config and config.parent)
        if folder is None:
            return
        if (settings := unsupported.quantization_settings(folder)) is not None:
            raise CheckpointError(
                f"quantize.dtype={params.dtype}: model.source is quantized already ("
                f"{settings.words}), and packed weights have no other precision; {AS_IT_IS}"
            )

    def run(self, params: CastParams, work: base.Work) -> ModelFacts:
        """Raises CheckpointError for a checkpoint that is damaged, or too large for fp16."""
        source = work.inputs["checkpoint"]
        self.refuse(params, work)
        if params.dtype == "source":
            for path in checkpoint_files.files(source):
                work.link(path, work.out / path.name)
        else:
            self._rewrite(params.dtype, work)
        # Links are the same, and what is said of them is said of the source.
        same = params.dtype == "source"
        made = source if same else work.out
        facts = checkpoint_engine.facts(made, source=None if same else source)
        return replace(facts, source=origin(work.origins["checkpoint"]))

    def _rewrite(self, dtype: str, work: base.Work) -> None:
        from qpipe.gguf.checkpoint import open_checkpoint
        from qpipe.packed import cast

        source = work.inputs["checkpoint"]
        opened = open_checkpoint(source)
        cast.cast(
            opened.tensors,
            work.out,
            dtype=dtype,
            progress=lambda done, total: work.progress(done, total, "bytes"),
        )
        cast.index(source, work.out)
        fields = cast.config(opened.config.fields, dtype=dtype)
        (work.out / "config.json").write_text(json.dumps(fields, indent=2))
        checkpoint_files.bring_along(source, work.out)


def _check_packed(source: Path) -> None:
    """Refuse matrices that config.json contradicts: what computes them goes by that."""
    from qpipe.packed import structure
    from qpipe.packed.source import check_settings

    if (settings := unsupported.quantization_settings(source)) is not None:
        check_settings(structure.read(source), settings)
