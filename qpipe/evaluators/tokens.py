"""tokens: a text as token ids in windows, made once for all models that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import DataError, RecipeError, UsageError
from qpipe.evaluators.common.parameters import ProtocolName
from qpipe.evaluators.text.protocols import Protocol, of_label, prepared
from qpipe.evaluators.text.protocols import protocol as find_protocol
from qpipe.hf.modules import MODULES
from qpipe.stages import base
from qpipe.stages.evaluator import only_file
from qpipe.texts.whole import form, read

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import TextTokenizer
    from qpipe.evaluators.text.windows import Tokenized


class TokensParams(base.Params):
    """A text under a protocol; what departs from it is in the label."""

    text: base.SourceFile | None = Field(
        None,
        description=(
            "The text to measure on, in UTF-8: a plain text, or records with a text each (.parquet,"
            " .jsonl, .json, also .gz), also as hf:datasets/OWNER/NAME@COMMIT/FILE. "
            "`text=wikitext-2` chooses a known one; tinystories, which comes with qpipe, is small, "
            "and of children's stories. null: the one of the tokens in role `reference`."
        ),
    )
    protocol: ProtocolName = Field(
        "llamacpp-512",
        description=(
            "How the text is cut and scored: llamacpp-512, gptq-2048, aqlm-4096, lm-eval-word or "
            "bytes."
        ),
    )
    n_ctx: int | None = Field(None, ge=3, description="Tokens of a window. null: the protocol's.")
    chunks: int | None = Field(
        None, ge=1, description="Windows that are taken at most. null: all that the text has."
    )
    backend: Literal["llama.cpp"] = Field(
        "llama.cpp",
        description=(
            "Whose tokenizer: by the reference's container, llama.cpp for a GGUF file, "
            "transformers for a checkpoint."
        ),
    )

    @model_validator(mode="after")
    def _is_a_protocol(self) -> TokensParams:
        try:
            self.cutting()
        except UsageError as error:
            raise ValueError(str(error)) from None
        return self

    def cutting(self) -> Protocol:
        """The protocol with its departures."""
        return find_protocol(self.protocol).with_overrides(n_ctx=self.n_ctx, chunks=self.chunks)


class TokensStage(base.Stage):
    """A text in windows; subclasses have a tokenizer.

    With the tokens of another model in role ``reference`` these must be the same. Without a text
    it is that of the reference, cut by the protocol which that says.
    """

    kind = "tokens"
    version: ClassVar[int] = 2
    roles = ("model",)
    optional_roles: ClassVar[tuple[str, ...]] = ("reference",)
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": base.DOCUMENTS}
    foresees = True

    @classmethod
    def refuse(cls, params: TokensParams, order: base.Order) -> None:
        """Raises DataError for a model whose vocabulary is not that of a reference file."""
        if "reference" not in order.inputs and "reference" not in order.coming:
            return
        file, model = order.root("reference"), order.inputs.get("model") or order.root("model")
        if file is None or model is None or not any(file.glob(f"*{base.REFERENCE_SUFFIX}")):
            return
        from qpipe.evaluators.reference_files import header, vocabulary

        try:
            head = header.read(only_file(file, suffix=base.REFERENCE_SUFFIX))
        except DataError:  # which is said of the file itself
            return
        vocabulary.require(head, model)

    @classmethod
    def preview(cls, params: TokensParams, order: base.Order) -> base.Preview | None:
        """Forecast how many tokens will be scored at most, from the text alone."""
        if "text" not in order.inputs:
            return None
        protocol = params.cutting()
        whole = read(only_file(order.inputs["text"]))
        documents = prepared(protocol, whole.text, whole.rows)
        scored = protocol.most_scored([len(d.text.encode()) for d in documents])
        return base.Preview({"format": "tokens", "tokens_scored": scored}, {}, at_most=True)


class LlamaCppTokens(TokensStage):
    """Tokens by llama.cpp's tokenizer, from a GGUF file."""

    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.GGUF,)}
    Params: ClassVar[base.ParamsModel] = TokensParams

    @classmethod
    def fingerprint(cls, params: TokensParams) -> Mapping[str, Json]:
        """The wheel that brings llama.cpp, and the version of the protocol."""
        tool = {"name": "llama.cpp", "xllamacpp": base.installed("xllamacpp")}
        return {**tool, **_reading(params)}

    @classmethod
    def resources(cls, params: TokensParams, *, cores: int) -> Resources:
        """Vocabularies and texts are small."""
        return Resources(cpus=1, memory=512 << 20)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the wheel is the version whose C structs are known."""
        from qpipe.llamacpp.library import problem

        return problem()

    def run(self, params: TokensParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError (the model), DataError (the text, or a reference's other
        tokens)."""
        from qpipe.llamacpp.backend import LlamaCppTokenizer

        with LlamaCppTokenizer(only_file(work.inputs["model"], suffix=".gguf")) as tokenizer:
            by = f"{tokenizer.name} {tokenizer.version}"
            return _write(params, work, tokenizer, by=by, note=None)


class TransformersTokensParams(TokensParams):
    """The same, by transformers."""

    backend: Literal["transformers"] = "transformers"  # type: ignore[assignment]


class TransformersTokens(TokensStage):
    """Tokens by the tokenizer of a checkpoint folder."""

    version: ClassVar[int] = 3
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.CHECKPOINT,)}
    Params: ClassVar[base.ParamsModel] = TransformersTokensParams
    imports = MODULES

    @classmethod
    def fingerprint(cls, params: TransformersTokensParams) -> Mapping[str, Json]:
        """Versions of what tokenizes, and of the protocol."""
        names = ("transformers", "tokenizers")
        tool: dict[str, Json] = {name: base.installed(name) for name in names}
        return {"name": "transformers", **tool, **_reading(params)}

    @classmethod
    def resources(cls, params: TransformersTokensParams, *, cores: int) -> Resources:
        """Vocabularies and texts are small, transformers is not."""
        return Resources(cpus=1, memory=1 << 30)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if torch and transformers are installed."""
        from qpipe.evaluators.common.backends import Transformers

        return Transformers.check()

    def run(self, params: TransformersTokensParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError (the tokenizer), DataError (the text, or a reference's other
        tokens)."""
        from qpipe.hf.tokenizer import Tokenizer

        tokenizer = Tokenizer(work.inputs["model"])
        by = f"transformers {base.installed('transformers')}"
        return _write(params, work, tokenizer, by=by, note=tokenizer.note)


def _reading(params: TokensParams) -> dict[str, Json]:
    """The versions of the protocol, and of how records are read."""
    reading = {} if params.text is None else form(params.text)
    return {"protocol": find_protocol(params.protocol).version, **reading}


def _called(name: str, work: base.Work) -> str:
    """The name of a text in reports: its file's, or what the download calls a file of the hub."""
    origin: Any = work.origins.get("text", {})
    if origin.get("params", {}).get("file") is None:
        return name
    return str(origin["facts"].get("name", name))


def _write(
    params: TokensParams, work: base.Work, tokenizer: TextTokenizer, *, by: str, note: str | None
) -> Mapping[str, Json]:
    from qpipe.evaluators.text.windows import load, save_documents

    tokenized, documents = (_of_text if "text" in work.inputs else _again)(params, work, tokenizer)
    if "reference" in work.inputs:
        tokenized.require_same(load(work.inputs["reference"]), model="the model to measure")
    tokenized.save(work.out)
    if len(documents) == 1:
        save_documents(work.out, documents)
    return tokenized.facts(tokenizer=by, notes=[] if note is None else [note])


def _of_text(
    params: TokensParams, work: base.Work, tokenizer: TextTokenizer
) -> tuple[Tokenized, Sequence[str]]:
    """The windows of the text that was given, and the documents that they are cut from."""
    from qpipe.evaluators.text.windows import tokenize

    file, protocol = only_file(work.inputs["text"]), params.cutting()
    whole = read(file)
    name = _called(file.name, work)
    tokenized = tokenize(whole.text, tokenizer, protocol, name=name, rows=whole.rows)
    return tokenized, [each.text for each in prepared(protocol, whole.text, whole.rows)]


def _again(
    params: TokensParams, work: base.Work, tokenizer: TextTokenizer
) -> tuple[Tokenized, Sequence[str]]:
    """The windows of the reference's text by this tokenizer, and its documents."""
    from qpipe.evaluators.text.windows import load, load_documents, tokenize_again

    folder = work.inputs.get("reference")
    documents = None if folder is None else load_documents(folder)
    if folder is None or documents is None:
        raise RecipeError("tokens: no text is given, and none in role reference: give text")
    like = load(folder).about
    again = tokenize_again(documents, tokenizer, of_label(like.protocol), like=like)
    return again, documents
