"""GGUF quantization in this process: byte for byte what llama-quantize writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.core.link import link
from qpipe.stages import base
from qpipe.stages.base import SourceFile
from qpipe.stages.evaluate import only_file
from qpipe.stages.quantize import GGUF_FILE, Engine, EngineParams, file_facts, model_facts

if TYPE_CHECKING:
    from qpipe.gguf.mixture import Wanted


def _known_type(name: str) -> str:
    from qpipe.errors import RecipeError
    from qpipe.gguf.ftypes import file_type

    try:
        return file_type(name).name
    except RecipeError as error:
        raise ValueError(str(error)) from None


def _known_tensor_type(name: str) -> str:
    from qpipe.errors import RecipeError
    from qpipe.gguf.types import parse_type

    try:
        return parse_type(name, where="type of a tensor").name
    except RecipeError as error:
        raise ValueError(str(error)) from None


def _pairs_to_rules(value: object) -> object:
    # null in recipes: Hydra lets an override fill that, but adds no keys to an empty mapping.
    if value is None:
        return {}
    return dict(value) if isinstance(value, list) else value


# Rules as [pattern, type] pairs in parameters: their order counts, and keys sort mappings.
Rules = Annotated[
    dict[str, str],
    BeforeValidator(_pairs_to_rules),
    PlainSerializer(lambda rules: [list(rule) for rule in rules.items()], list[list[str]]),
]


TensorType = Annotated[str, AfterValidator(_known_tensor_type)]


class GgufParams(EngineParams):
    """``type`` is a llama-quantize name; ``tensor_types`` maps regular expressions to types.

    ``via`` is the precision of the GGUF that is quantized: f16 (llama.cpp's usual way), or the
    checkpoint's own. Later entries of ``tensor_types`` win. ``pure``, ``output_tensor_type`` and
    ``token_embedding_type`` are llama-quantize's options.
    """

    method: Literal["gguf"] = "gguf"
    engine: Literal["native"] = "native"
    type: Annotated[str, AfterValidator(_known_type)]
    via: Literal["f16", "source"] = "f16"
    imatrix: SourceFile | None = None
    pure: bool = False
    output_tensor_type: TensorType | None = None
    token_embedding_type: TensorType | None = None
    tensor_types: Rules = Field(default_factory=dict)

    def wanted(self) -> Wanted:
        """The names of types, checked once more."""
        from qpipe.gguf.mixture import Wanted

        return Wanted.of(
            self.type,
            tensor_types=self.tensor_types,
            pure=self.pure,
            output_tensor_type=self.output_tensor_type,
            token_embedding_type=self.token_embedding_type,
        )


class NativeGguf(Engine):
    """The quantizers of qpipe/gguf/."""

    version = 3
    optional_roles = ("imatrix",)
    Params = GgufParams

    @classmethod
    def fingerprint(cls, params: GgufParams) -> Mapping[str, Json]:
        """What qpipe's own kernels (compiled by numba) leave, gguf and ggml (in xllamacpp) do."""
        tools = {name: base.installed(name) for name in ("gguf", "numba", "xllamacpp")}
        return {"name": "qpipe.gguf", "version": 1, **tools}

    @classmethod
    def resources(cls, params: GgufParams, *, cores: int) -> Resources:
        """Rows are quantized in threads, a few chunks in memory at a time."""
        return Resources(cpus=max(1, cores // 2), memory=256 << 20)

    def run(self, params: GgufParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError for a model that is damaged, quantized, or holds NaN, DataError
        for an importance matrix that is unusable or another model's, RecipeError for wishes
        without effect and for a type that needs an importance matrix where there is none.

        A model that is of the wanted type already passes through as it is.
        """
        from qpipe.gguf.quantize import quantize

        source = only_file(work.inputs["model"], suffix=".gguf")
        before = file_facts(source)
        wanted = params.wanted()
        if not wanted.changes(str(before["format"])):
            link(source, work.out / GGUF_FILE)
            return before
        imatrix = work.inputs.get("imatrix")
        written = quantize(
            source,
            work.out / GGUF_FILE,
            ftype=wanted,
            imatrix=None if imatrix is None else only_file(imatrix),
            threads=work.threads,
            progress=lambda done, total: work.progress(done, total, "bytes"),
        )
        return {**model_facts(**written.facts), "notes": list(written.notes)}
