"""A GGUF file's template, system message, parameters and terms, in Ollama's words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.export.model import ExportedModel
from qpipe.export.ollama.chat_template import GoTemplate, go_template
from qpipe.gguf import split
from qpipe.gguf.reader import GGUFFile
from qpipe.gguf.vocab.pretokenizers import ADD_BOS
from qpipe.hf.chat import Template
from qpipe.support import strict_json
from qpipe.support.files import read_file

GENERATION = "generation_config.json"
# transformers' names of what a Modelfile knows (docs/modelfile.mdx), and the least and the most.
_PARAMETERS = {
    "temperature": ("temperature", 0.0, 100.0),
    "top_k": ("top_k", 0, 1 << 20),
    "top_p": ("top_p", 0.0, 1.0),
    "min_p": ("min_p", 0.0, 1.0),
    "repetition_penalty": ("repeat_penalty", 0.01, 100.0),
}
_TERMS = ("LICENSE*", "LICENCE*")
_LONGEST = 1 << 20
_CONTROL, _USER_DEFINED = 3, 4
# Its answers have several parts, each of which ends with a token that ends turns elsewhere.
_IN_PARTS = ("gpt-oss",)


@dataclass(frozen=True)
class OllamaSettings:
    """Parameters in their order, ``stop`` as often as needed; ``context`` is the most tokens that
    the model reads, ``chat`` None for a model without a chat template."""

    chat: GoTemplate | None
    parameters: Sequence[tuple[str, str]]
    terms: str
    context: int | None

    @property
    def stops(self) -> list[str]:
        """The texts that end an answer."""
        return [value for name, value in self.parameters if name == "stop"]

    def params(self) -> dict[str, Any]:
        """Return the parameters as the hub's file ``params`` has them."""
        numbers = {name: _number(value) for name, value in self.parameters if name != "stop"}
        return numbers | ({"stop": self.stops} if self.stops else {})


def read(model: ExportedModel) -> OllamaSettings:
    """Read the settings of a GGUF model and of its source. Raises CheckpointError, DataError."""
    assert model.gguf is not None
    file = split.read(model.gguf)
    return of_file(file, _generation(model), terms=_terms(model, file))


def of_file(file: GGUFFile, generation: Mapping[str, Any], *, terms: str = "") -> OllamaSettings:
    """Return the settings of a file; ``generation`` has the fields of generation_config.json.

    Raises CheckpointError for metadata that cannot be read.
    """
    tokens = _Tokens.read(file)
    text = _text(file, "tokenizer.chat_template")
    chat = None
    if text:
        spelled = {"bos_token": tokens.bos or "", "eos_token": tokens.eos or ""}
        added = tokens.bos if tokens.add_bos else None
        chat = go_template(Template(text, spelled, block=""), bos=added)
    ends = [*tokens.ends, *tokens.spelled(generation.get("eos_token_id"))]
    stops = _stops(ends, chat.turn if chat else "", tokens, whole=_whole(file)) if chat else []
    context = _value(file, f"{file.architecture}.context_length")
    return OllamaSettings(
        chat,
        [*_numbers(generation), *(("stop", stop) for stop in stops)],
        terms,
        context if isinstance(context, int) else None,
    )


@dataclass(frozen=True)
class _Tokens:
    """Special tokens as they are spelled; ``ends`` those that end a text or a turn."""

    texts: Sequence[str]
    marks: Sequence[str]
    bos: str | None
    eos: str | None
    ends: Sequence[str]
    add_bos: bool

    @classmethod
    def read(cls, file: GGUFFile) -> _Tokens:
        texts: Any = _value(file, "tokenizer.ggml.tokens") or []
        kinds: Any = _value(file, "tokenizer.ggml.token_type") or []

        def named(kind: str) -> str | None:
            index = _value(file, f"tokenizer.ggml.{kind}_token_id")
            return texts[index] if isinstance(index, int) and 0 <= index < len(texts) else None

        marks = [
            text
            for text, kind in zip(texts, kinds, strict=False)
            if kind == _CONTROL or (kind == _USER_DEFINED and text[:1] in ("<", "["))
        ]
        ends = [end for kind in ("eos", "eot", "eom") if (end := named(kind))]
        return cls(texts, marks, named("bos"), named("eos"), ends, _adds_bos(file))

    def spelled(self, ids: Any) -> Iterator[str]:
        """Yield the texts of one id, or of a list of ids."""
        for index in ids if isinstance(ids, list) else [ids]:
            if isinstance(index, int) and 0 <= index < len(self.texts):
                yield self.texts[index]


def _adds_bos(file: GGUFFile) -> bool:
    """True if llama.cpp puts BOS before a text (llama-vocab.cpp, ``llama_vocab::impl::load``)."""
    added = _value(file, "tokenizer.ggml.add_bos_token")
    if isinstance(added, bool):
        return added
    kind = _value(file, "tokenizer.ggml.model")
    return kind in ("llama", "bert") or _value(file, "tokenizer.ggml.pre") in ADD_BOS


def _stops(ends: Sequence[str], turn: str, tokens: _Tokens, *, whole: bool) -> list[str]:
    """Texts that end an answer: tokens that do, and what stands before the next question."""
    if not whole:
        return list(dict.fromkeys(ends))
    marks = {turn.index(mark): mark for mark in tokens.marks if mark in turn and mark != tokens.bos}
    found = [mark for _, mark in sorted(marks.items())]
    if set(found) <= set(ends):
        words = turn
        for mark in (*found, tokens.bos or ""):
            words = words.replace(mark, "\n") if mark else words
        lines = [line.strip() for line in words.splitlines() if len(line.strip()) > 3]
        found += lines[:1]
    return list(dict.fromkeys([*ends, *found]))


def _whole(file: GGUFFile) -> bool:
    return file.architecture not in _IN_PARTS


def _numbers(generation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for theirs, (ours, least, most) in _PARAMETERS.items():
        value: Any = generation.get(theirs)
        if type(value) in (int, float) and math.isfinite(value) and least <= value <= most:
            yield ours, str(int(value)) if ours == "top_k" else f"{value:g}"


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def _generation(model: ExportedModel) -> Mapping[str, Any]:
    path = _source(model) / GENERATION
    if not path.is_file():
        return {}
    contents = strict_json.load(path, CheckpointError)
    return contents if isinstance(contents, Mapping) else {}


def _terms(model: ExportedModel, file: GGUFFile) -> str:
    """The text of the licence, else its name as the file has it."""
    for pattern in _TERMS:
        for path in sorted(_source(model).glob(pattern)):
            text = read_file(path, CheckpointError, most=_LONGEST).decode("utf-8", "replace")
            lines = text.replace("\r\n", "\n")
            return "".join(c for c in lines if c.isprintable() or c in "\n\t")
    parts = (_text(file, f"general.license{kind}") for kind in ("", ".name", ".link"))
    return " ".join(filter(None, parts))


def _source(model: ExportedModel) -> Path:
    return model.source.path if model.source is not None else model.artifact.path


def _value(file: GGUFFile, key: str) -> Any:
    return file.value(key) if key in file.metadata else None


def _text(file: GGUFFile, key: str) -> str:
    value = _value(file, key)
    return value if isinstance(value, str) else ""
