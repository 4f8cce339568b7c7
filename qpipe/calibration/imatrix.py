"""imatrix: which columns of a model's weights matter, found by running it over a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from qpipe.calibration.text_params import TextParams
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import EngineMissingError
from qpipe.stages import base
from qpipe.stages.evaluator import only_file

if TYPE_CHECKING:
    from qpipe.llamacpp.importance import Importance

IMATRIX_FILE = "imatrix.gguf"


# More than a token has on average in any text: documents behind so many are not read.
_CHARACTERS = 64


class ImatrixParams(TextParams):
    """Windows from the beginning of a text, as llama-imatrix takes them.

    Documents are joined by line breaks, or put into the chat template one by one.
    """

    text: base.SourceFile = Field(description="The text that the importance matrix is made from.")
    n_ctx: int = Field(512, ge=16, description="Tokens of a window.")
    chunks: int | None = Field(
        None, ge=1, description="Windows that are taken, from the beginning of the text. null: all."
    )
    with_output: bool = Field(
        False,
        description=(
            "true: weigh the output matrix too, as llama-imatrix does with --process-output."
        ),
    )
    seed: int = Field(
        0,
        description=(
            "Has no effect: windows are taken from the beginning. It is here so that one "
            "calibration block serves all."
        ),
    )

    @model_validator(mode="after")
    def _seed_has_no_effect(self) -> ImatrixParams:
        if self.seed:
            raise ValueError(
                f"calibration.seed={self.seed}: an importance matrix is of the first windows of "
                "the text; leave it at 0, and give another text for other windows"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without those that came later where they are not used: the keys are as they were."""
        values: dict[str, Any] = fields(self)
        later = {"chat_template": False, "date": None, "seed": 0}
        return {n: v for n, v in values.items() if n not in later or v != later[n]}


class Imatrix(base.Stage):
    """An importance matrix by llama.cpp in the worker's own process, in llama.cpp's format."""

    kind = "imatrix"
    version = 1
    roles = ("model",)
    Params = ImatrixParams

    @classmethod
    def fingerprint(cls, params: ImatrixParams) -> Mapping[str, Json]:
        """The wheel that brings llama.cpp."""
        return {"name": "llama.cpp", "xllamacpp": base.installed("xllamacpp")}

    @classmethod
    def resources(cls, params: ImatrixParams, *, cores: int) -> Resources:
        """All cores, for what is quantized waits for it; the model and the logits of a batch in
        memory."""
        return Resources(cpus=cores, memory=1 << 30, memory_per_input_byte=1.0)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the wheel is the version whose C structs are known."""
        from qpipe.llamacpp.library import load
        from qpipe.llamacpp.observe import check

        try:
            check(load().c)
        except EngineMissingError as error:
            return str(error)
        return None

    def run(self, params: ImatrixParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError (the model), DataError (the text, or inputs of a weight that are
        no finite numbers)."""
        from qpipe.gguf.imatrix import write
        from qpipe.llamacpp.importance import importance

        model = only_file(work.inputs["model"], suffix=".gguf")
        text = only_file(work.inputs["text"])
        most = None if params.chunks is None else params.chunks * params.n_ctx
        imatrix = importance(
            model,
            calibration_text(text, params, model, most=most),
            n_ctx=params.n_ctx,
            chunks=params.chunks,
            threads=work.threads,
            with_output=params.with_output,
            parse_special=params.chat_template,
            progress=lambda done, total: work.progress(done, total, "tokens"),
        )
        write(
            work.out / IMATRIX_FILE,
            {name: (entry.sums, entry.counts) for name, entry in imatrix.entries.items()},
            datasets=[text.name],
            chunks=imatrix.chunks,
            chunk_size=imatrix.n_ctx,
        )
        return {**_facts(imatrix, chunks=params.chunks, model=model), "text": text.name}


def calibration_text(text: Path, params: TextParams, model: Path, *, most: int | None) -> str:
    """The documents, plain or in the template of the GGUF file, as far as so many tokens may
    reach."""
    from qpipe.calibration.text import documents
    from qpipe.calibration.text.documents import beginning, in_template
    from qpipe.llamacpp.model import Model

    read = documents.read(text, field=params.field)
    if most is not None:
        read = beginning(read, _CHARACTERS * most)
    if not params.chat_template:
        return "\n".join(document.plain for document in read)
    with Model(model, vocab_only=True) as loaded:
        template, vocab = loaded.chat_template, loaded.vocab
        tokens = {"bos_token": vocab.spelled(vocab.bos), "eos_token": vocab.spelled(vocab.eos)}
    return "".join(in_template(read, template, tokens, day=params.date))


def _facts(imatrix: Importance, *, chunks: int | None, model: Path) -> dict[str, Json]:
    missing = _missing(imatrix, model)
    tokens_asked = imatrix.tokens if chunks is None else chunks * imatrix.n_ctx
    return {
        "chunks": imatrix.chunks,
        "chunk_size": imatrix.n_ctx,
        "tokens": imatrix.tokens,
        "tokens_asked": tokens_asked,
        "tokens_in_text": imatrix.text_tokens,
        "entries": len(imatrix.entries),
        "missing": list(missing),
        "short": {**imatrix.short},
        "unseen_experts": {name: list(experts) for name, experts in imatrix.unseen.items()},
        "notes": list(_notes(imatrix, tokens_asked, missing)),
    }


def _missing(imatrix: Importance, model: Path) -> list[str]:
    """The layers' matrices that no entry is for."""
    from qpipe.gguf import reader

    return [
        name
        for name, tensor in reader.read(model).tensors.items()
        if name.startswith("blk.")
        and name.endswith(".weight")
        and len(tensor.shape) > 1
        and name not in imatrix.entries
    ]


def _notes(imatrix: Importance, tokens_asked: int, missing: list[str]) -> list[str]:
    notes = []
    if imatrix.tokens < tokens_asked:
        notes.append(
            f"the text gave {imatrix.tokens} of the {tokens_asked} tokens asked for: give a longer "
            f"one, or set calibration.samples to {imatrix.chunks} or less"
        )
    if imatrix.n_ctx > imatrix.n_ctx_train:
        notes.append(
            f"windows of {imatrix.n_ctx} tokens exceed the {imatrix.n_ctx_train} that the model "
            f"was trained for: set calibration.length={imatrix.n_ctx_train}"
        )
    if missing:
        notes.append(f"no importances for {_listed(missing)}: llama.cpp multiplies with none")
    if imatrix.short:
        notes.append(
            f"fewer tokens than given reached {_listed(list(imatrix.short))}: llama.cpp passes "
            "over batches of fewer than 16; set calibration.length to a power of two"
        )
    if imatrix.unseen:
        # An expert is a matrix each of blk.N.ffn_gate_exps, ffn_up_exps and ffn_down_exps.
        pairs = {
            (name.rpartition(".ffn_")[0], i) for name, all_ in imatrix.unseen.items() for i in all_
        }
        matrices = sum(map(len, imatrix.unseen.values()))
        notes.append(
            f"no token reached {len(pairs)} experts ({matrices} matrices of "
            f"{_listed(list(imatrix.unseen))}); they are quantized without importances: give more "
            "text"
        )
    return notes


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
