"""The tokenizer of a checkpoint folder as tokenizer.json has it, whatever class reads it.

transformers 5 builds some tokenizers anew from the vocabulary, by the class that
tokenizer_config.json names, and passes over tokenizer.json's normalizer and pre-tokenizer
(5.17.0, ``TokenizersBackend.convert_to_native_format``): a byte-level vocabulary that calls itself
LlamaTokenizerFast, as many fine-tunes of Llama 3 do, is read without its spaces. So a few lines are
encoded both ways, and where they differ tokenizer.json has the say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.support import strict_json

TokenArray = npt.NDArray[np.int32]

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"

PROBE = (
    "Once upon a time there was a little girl.",
    "two  spaces,   three,     five and one at the end ",
    "lines\nand\n\nempty ones\r\n\ttabs\t\tand no-break\u00a0spaces",
    "0 1 23 456 7890 12345678, 3.14159e-10, 1,000,000",
    "naïve café, Übergröße, Ελληνικά, русский, עברית, العربية, हिन्दी, e\u0301",
    "日本語と中文 한국어",
    "🙂👩‍👩‍👧🏽 ∑ℝ ½ ﬁ",
    "def f(x):\n    return {'a': x[0] != 1, \"b\": ~x}  # it's, they'll, WE'RE",
    '<div class="x">&amp;</div> http://example.org/?q=a%20b ##~~__--',
)
"""What two readings of a tokenizer are compared by, beside its special tokens."""


# transformers 5.17.0's LlamaTokenizer puts no space before a text that begins with one, nor after a
# special token, for any SentencePiece vocabulary: put right as well, but not worth a note.
_EDGE = " one space first "
# Special tokens in one text; some vocabularies have thousands.
_TOGETHER = 32


@dataclass(frozen=True)
class TokenizerReading:
    """``tokenizer`` is transformers' object; ``note`` says if it is not what AutoTokenizer gave."""

    tokenizer: Any
    note: str | None = None


@dataclass(frozen=True)
class _Difference:
    """A text, and the ids that two readings make of it; ``framed``: with BOS and EOS."""

    text: str
    other_ids: Sequence[int]
    file: Sequence[int]
    framed: bool

    def __str__(self) -> str:
        how = " with what is put around it" if self.framed else ""
        return f"{self.text!r}{how} is {_shown(self.other_ids)}, not {_shown(self.file)}"


class Tokenizer:
    """The tokenizer in a checkpoint ``folder``.

    ``bos`` is the token that it puts before a text, or None if it puts none; ``prefix`` what a
    first token is predicted from: BOS, or EOS in a vocabulary without. ``note`` as in
    `TokenizerReading`. Raises CheckpointError if transformers cannot load it.
    """

    def __init__(self, folder: Path) -> None:
        reading = read_tokenizer(folder)
        self._tokenizer = reading.tokenizer
        self.note = reading.note
        self.n_tokens = len(self._tokenizer)
        self.bos = self._bos()
        self.prefix = self._prefix(folder)

    def _bos(self) -> int | None:
        bos: int | None = self._tokenizer.bos_token_id
        ids = self._tokenizer("a")["input_ids"]
        return bos if bos is not None and ids[:1] == [bos] else None

    def _prefix(self, folder: Path) -> int:
        for token in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise CheckpointError(
            f"{folder}: its tokenizer has neither a BOS nor an EOS token; name one of them in "
            "tokenizer_config.json"
        )

    def tokenize(self, text: str) -> TokenArray:
        """Token ids of ``text`` alone: no BOS, no EOS, special tokens read as plain text."""
        encoding = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return np.array(encoding["input_ids"], np.int32)


def read_tokenizer(folder: Path) -> TokenizerReading:
    """The tokenizer in ``folder``; where AutoTokenizer and tokenizer.json differ, the latter's.

    What is put around a text is tokenizer.json's too, but for add_bos_token and add_eos_token where
    tokenizer_config.json has them. Raises CheckpointError if transformers cannot load it, or not so
    that it gives these ids.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    auto = _load(AutoTokenizer, folder)
    if not (folder / TOKENIZER).is_file():
        return TokenizerReading(auto)
    file = _File.open(folder, auto)
    first = None
    if isinstance(auto, PreTrainedTokenizerFast):
        first = file.difference(auto)
        if first is None:
            return TokenizerReading(auto)
    plain = _load(PreTrainedTokenizerFast, folder)
    file.name(plain)
    file.frame(plain)
    if (second := file.difference(plain)) is not None:
        raise CheckpointError(
            f"{folder}: transformers does not read its {TOKENIZER} as it is ({second}); compare "
            f"{TOKENIZER} and {CONFIG} with those of the model that it was made from"
        )
    if first is not None and first.text.startswith(_EDGE):
        return TokenizerReading(plain)
    # Such as mistral-common's, which reads tekken.json, if there is no difference.
    why = "does not use it" if first is None else f"reads it otherwise: {first}"
    return TokenizerReading(
        plain, f"the ids are those of {TOKENIZER}; transformers' {type(auto).__name__} {why}"
    )


def _load(auto: Any, folder: Path) -> Any:
    for path in sorted(folder.rglob("*.jinja")):
        try:
            path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"the model's {path.name} is no UTF-8 (at byte {error.start}); save it as UTF-8, "
                "or take it away"
            ) from None
    try:
        return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # tokenizers 0.23 raises bare Exceptions for a tokenizer.json that it cannot read.
    except Exception as error:
        raise CheckpointError(
            f"{folder}: transformers cannot load its tokenizer ({_first_line(error)}); give a "
            "checkpoint with tokenizer.json or tokenizer.model beside the weights"
        ) from error


@dataclass(frozen=True)
class _File:
    """tokenizer.json, and what tokenizer_config.json adds to a text."""

    tokenizer: Any
    bos: tuple[str, int] | None
    eos: tuple[str, int] | None
    add: Mapping[str, bool]

    @classmethod
    def open(cls, folder: Path, auto: Any) -> _File:
        """``auto`` is another reading, for the names of BOS and EOS: its class may have some where
        no file does. Raises CheckpointError for files that cannot be read."""
        from tokenizers import Tokenizer

        try:
            tokenizer: Any = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # tokenizers 0.23 has no class of its own for this
            raise CheckpointError(
                f"{folder / TOKENIZER}: cannot be read: {_first_line(error)}"
            ) from error
        # tokenizers 0.23 keeps what the file says of training: texts would be cut or filled up.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        config = _config(folder / CONFIG)
        add = {
            kind: value
            for kind in ("bos", "eos")
            if isinstance(value := config.get(f"add_{kind}_token"), bool)
        }
        names = (getattr(auto, f"{kind}_token", None) for kind in ("bos", "eos"))
        bos, eos = (_named(name, tokenizer) for name in names)
        return cls(tokenizer, bos, eos, add)

    def texts(self) -> Iterator[str]:
        """`PROBE`, special tokens between words, and what begins with a space."""
        special = [token.content for token in self.tokenizer.get_added_tokens_decoder().values()]
        groups = [special[at : at + _TOGETHER] for at in range(0, len(special), _TOGETHER)]
        yield from PROBE
        yield from ("a" + "".join(f"{name}b" for name in group) for group in groups)
        yield from (_EDGE + "".join(f"{name} b " for name in group) for group in groups or [[]])

    def difference(self, other: Any) -> _Difference | None:
        """The first text that another tokenizer reads otherwise, with special tokens read as such
        and as plain text."""
        for text in self.texts():
            for split in (False, True):
                self.tokenizer.encode_special_tokens = split
                file = self.tokenizer.encode(text, add_special_tokens=False).ids
                other_ids = other(
                    text, add_special_tokens=False, split_special_tokens=split, verbose=False
                )["input_ids"]
                if other_ids != file:
                    return _Difference(text, other_ids, file, framed=False)
        framed, other_ids = self.framed("a"), other("a", verbose=False)["input_ids"]
        return None if other_ids == framed else _Difference("a", other_ids, framed, framed=True)

    def framed(self, text: str) -> list[int]:
        """Ids with what is put around a text."""
        before, after = self._around()
        self.tokenizer.encode_special_tokens = False
        inner = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [*(i for _, i in before), *inner, *(i for _, i in after)]

    def name(self, other: Any) -> None:
        """Name BOS and EOS in another tokenizer that knows none."""
        for kind, own in (("bos_token", self.bos), ("eos_token", self.eos)):
            if own is not None and getattr(other, kind) is None:
                setattr(other, kind, own[0])

    def frame(self, other: Any) -> None:
        """Have another tokenizer put the same around a text."""
        other.backend_tokenizer.post_processor = _around_a_text(*self._around())

    def _around(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """(token, id) of what comes before a text and after it."""
        self.tokenizer.encode_special_tokens = False
        bare = self.tokenizer.encode("a", add_special_tokens=False)
        whole = self.tokenizer.encode("a")
        at = next(
            (n for n in range(len(whole)) if whole.ids[n : n + len(bare)] == bare.ids), len(whole)
        )
        pairs = list(zip(whole.tokens, whole.ids, strict=True))
        before, after = pairs[:at], pairs[at + len(bare) :]
        if "bos" in self.add and self.bos is not None:
            before = [self.bos] * self.add["bos"] + [one for one in before if one != self.bos]
        if "eos" in self.add and self.eos is not None:
            after = [one for one in after if one != self.eos] + [self.eos] * self.add["eos"]
        return before, after


def _around_a_text(before: Sequence[tuple[str, int]], after: Sequence[tuple[str, int]]) -> Any:
    """A post-processor, made of JSON."""
    # tokenizers 0.23: TemplateProcessing's own syntax has no names with colons in them.
    from tokenizers import Tokenizer

    first, last = (
        [{"SpecialToken": {"id": name, "type_id": 0}} for name, _ in side]
        for side in (before, after)
    )
    one, two = ({"Sequence": {"id": name, "type_id": kind}} for kind, name in enumerate("AB"))
    template = {
        "type": "TemplateProcessing",
        "single": [*first, one, *last],
        "pair": [*first, one, *last, two],
        "special_tokens": {
            name: {"id": name, "ids": [at], "tokens": [name]} for name, at in (*before, *after)
        },
    }
    empty = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}
    holder: Any = Tokenizer.from_str(json.dumps({**empty, "post_processor": template}))
    return holder.post_processor


def _named(text: Any, tokenizer: Any) -> tuple[str, int] | None:
    """A special token and its id, if tokenizer.json has it."""
    index = tokenizer.token_to_id(text) if isinstance(text, str) else None
    return None if index is None else (str(text), index)


def _config(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    contents = strict_json.load(path, CheckpointError)
    return contents if isinstance(contents, Mapping) else {}


def _shown(ids: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, ids[:8])) + (", …]" if len(ids) > 8 else "]")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
