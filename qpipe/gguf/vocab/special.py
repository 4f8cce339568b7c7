"""Special tokens, whether they are added to a prompt, and the chat template.

What gguf-py's SpecialVocab reads, in its order (llama.cpp, gguf-py/gguf/vocab.py; the version on
PyPI is older than the converter's own): tokenizer.json's post-processor, then
tokenizer_config.json, then config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import jsonfile, values
from qpipe.support.files import read_file

TEMPLATE, MORE = "chat_template.jinja", "additional_chat_templates"
KINDS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

_ID_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # sic: the key in GGUF
    "pad": "padding_token_id",
    "mask": "mask_token_id",
}
_LONGEST = 1 << 22
"""Bytes of a chat template; the longest have some ten thousand."""

_ADDABLE = ("bos", "eos", "sep")


def metadata(
    folder: Path,
    tokenizer: dict[str, Any] | None = None,
    *,
    n_vocab: int | None = None,
    named: Mapping[str, int] | None = None,
) -> values.Metadata:
    """``tokenizer.ggml.*_token_id``, ``add_*_token`` and ``tokenizer.chat_template``.

    ``tokenizer`` is what tokenizer.json holds, where it has been read. Ids that lie outside
    ``n_vocab`` rows, or that GGUF cannot hold, are left out. ``named`` are ids by kind, for what
    the files leave open.
    """
    tokenizer = tokenizer or _optional(folder / "tokenizer.json")
    config = _optional(folder / "tokenizer_config.json")
    special = _Special(list(KINDS), n_vocab, named=bool(config))
    if tokenizer:
        special.read_post_processor(tokenizer, config)
    if special.named:
        special.read_tokens(config, tokenizer.get("added_tokens") or [])
    special.read_ids(_optional(folder / "config.json"))
    special.add_missing(named or {})
    return special.metadata() | (_chat_template(folder, config) if special.named else {})


def _optional(path: Path) -> dict[str, Any]:
    return jsonfile.load(path) if path.is_file() else {}


@dataclass
class _Special:
    kinds: list[str]
    n_vocab: int | None
    named: bool  # whether tokenizer_config.json names tokens; what is deduced is no name
    ids: dict[str, int] = field(default_factory=dict)
    add: dict[str, bool] = field(default_factory=dict)

    def metadata(self) -> values.Metadata:
        prefix = "tokenizer.ggml."
        ids = {
            f"{prefix}{_ID_KEYS[k]}": values.u32(v) for k, v in self.ids.items() if k in _ID_KEYS
        }
        add = {
            f"{prefix}add_{k}_token": values.boolean(v)
            for k, v in self.add.items()
            if k in _ADDABLE
        }
        return ids | add

    def read_post_processor(self, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
        """Deduce from the post-processor which tokens frame a text; may fill in ``config``."""
        for kind, stand_in in (("bos", "cls"), ("eos", "sep")):
            if not config.get(f"{kind}_token") and config.get(f"{stand_in}_token"):
                config[f"{kind}_token"] = config[f"{stand_in}_token"]
        processor = tokenizer.get("post_processor") or {}
        for step in processor.get("processors", [processor]):
            if step.get("type") == "ByteLevel":
                self.add.setdefault("bos", False)
                self.add.setdefault("eos", False)
            elif step.get("type") == "TemplateProcessing":
                self._read_template(step, config)

    def _read_template(self, step: dict[str, Any], config: dict[str, Any]) -> None:
        single, pair = step.get("single") or [], step.get("pair") or []
        first = _special(single[0]) if len(single) > 1 else None
        last = _special(single[-1]) if len(single) > 1 else None
        if first:
            self._read_first(first, config)
        if last:
            self._read_last(last, config)
        if first and pair and _special(pair[0]) == first:
            pair = pair[1:]
        if last and pair and _special(pair[-1]) == last:
            pair = pair[:-1]
        between = pair[1:-1]
        if between and (_sequence(pair[0]), _sequence(pair[-1])) == ("A", "B"):
            self._read_between(between, config, closed=last is not None)

    def _read_first(self, first: str, config: dict[str, Any]) -> None:
        for kind in ("bos", "cls"):
            if first not in (config.get("bos_token"), config.get("cls_token")):
                config[f"{kind}_token"] = config.get(f"{kind}_token") or first
        self.add["bos"] = first in (config.get("bos_token"), config.get("cls_token"))

    def _read_last(self, last: str, config: dict[str, Any]) -> None:
        """A text that ends with another token than EOS: that becomes EOS, EOS ends the turn."""
        if last != config.get("eos_token"):
            spare = next((kind for kind in ("eot", "eom") if kind not in self.kinds), None)
            if spare and self.named:
                self.kinds.append(spare)
                config[f"{spare}_token"] = config.get("eos_token")
            config["eos_token"] = last
        self.add["eos"] = True

    def _read_between(self, between: list[Any], config: dict[str, Any], *, closed: bool) -> None:
        separators = [t for t in (config.get("sep_token"), config.get("eos_token")) if t]
        add = _special(between[0]) in separators and not closed
        if len(between) == 2 and _special(between[1]) in separators:
            add = True
        self.add["sep"] = add
        if add and not config.get("sep_token"):
            config["sep_token"] = config.get("eos_token")

    def read_tokens(self, config: dict[str, Any], added: list[Any]) -> None:
        """Names in tokenizer_config.json, looked up among tokenizer.json's added tokens; what it
        says of adding them goes before the post-processor, as in transformers."""
        by_text = {t.get("content"): t.get("id") for t in reversed(added) if isinstance(t, dict)}
        for kind in self.kinds:
            add = config.get(f"add_{kind}_token")
            if isinstance(add, bool):
                self.add[kind] = add
            entry = config.get(f"{kind}_token")
            text = entry.get("content") if isinstance(entry, dict) else entry
            if isinstance(text, str):
                self._set(kind, by_text.get(text))

    def read_ids(self, config: dict[str, Any]) -> None:
        """Ids in config.json, for what the names left open; those of its text_config last."""
        of_text = config.get("text_config")
        for kind in self.kinds:
            self._set(kind, config.get(f"{kind}_token_id"))
            if isinstance(of_text, dict):
                self._set(kind, of_text.get(f"{kind}_token_id"))

    def add_missing(self, ids: Mapping[str, int]) -> None:
        """Ids of kinds that have none yet."""
        for kind, index in ids.items():
            self._set(kind, index)

    def _set(self, kind: str, index: Any) -> None:
        rows = values.MAX_U32 + 1 if self.n_vocab is None else self.n_vocab
        if type(index) is int and 0 <= index < rows and kind not in self.ids:
            self.ids[kind] = index


def _special(entry: Any) -> str | None:
    token = entry.get("SpecialToken", {}).get("id")
    return token if isinstance(token, str) else None


def _sequence(entry: Any) -> str | None:
    name = entry.get("Sequence", {}).get("id")
    return name if isinstance(name, str) else None


def notes(folder: Path) -> list[str]:
    """A note of a chat template that stands in two places and differs between them."""
    file = folder / TEMPLATE
    template = _optional(folder / "tokenizer_config.json").get("chat_template")
    if (
        not file.is_file()
        or template is None
        or _by_name(template).get("default") == _template(file)
    ):
        return []
    return [
        f"{TEMPLATE} is not the chat_template of tokenizer_config.json: the file was taken, as "
        "transformers takes it (llama.cpp's converter takes the other)"
    ]


def chat_template(folder: Path) -> values.Metadata:
    """The template of the checkpoint in ``folder``, or those that it has by name."""
    return _chat_template(folder, _optional(folder / "tokenizer_config.json"))


def _chat_template(folder: Path, config: dict[str, Any]) -> values.Metadata:
    """The template, or several by name (gguf_writer.py, add_chat_template); files go before
    tokenizer_config.json, as in transformers."""
    templates = config.get("chat_template") or _optional(folder / "chat_template.json").get(
        "chat_template"
    )
    named = _by_name(templates) | _template_files(folder)
    default = named.pop("default", None)
    fields = {f"tokenizer.chat_template.{k}": values.string(v) for k, v in named.items()}
    if named:
        fields["tokenizer.chat_templates"] = values.strings([k.encode() for k in sorted(named)])
    if default is not None:
        fields["tokenizer.chat_template"] = values.string(default)
    return fields


def _template(path: Path) -> str:
    try:
        return read_file(path, errors.CheckpointError, most=_LONGEST).decode()
    except UnicodeDecodeError as error:
        raise errors.CheckpointError(
            f"{path}: the chat template is no UTF-8 ({error.reason} at byte {error.start}); save "
            "it as UTF-8, or remove it"
        ) from None


def _by_name(templates: Any) -> dict[str, str]:
    """tokenizer_config.json's template or list of templates, by name."""
    if isinstance(templates, str):
        return {"default": templates}
    listed = templates if isinstance(templates, list) else []
    return {_plain(t["name"]): t["template"] for t in listed if t.get("template") is not None}


def _template_files(folder: Path) -> dict[str, str]:
    """Templates by name, each in a file of its own, as transformers 5 saves them."""
    templates = {
        _plain(path.stem): _template(path) for path in sorted((folder / MORE).glob("*.jinja"))
    }
    if (path := folder / TEMPLATE).is_file():
        templates["default"] = _template(path)
    return templates


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
