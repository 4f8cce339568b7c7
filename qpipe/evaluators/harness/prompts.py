"""Texts and messages as tokens and prompts, for every model that lm-eval asks.

Messages are put into the model's own chat template; a GGUF file's texts are read as llama.cpp does.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from qpipe.errors import DataError
from qpipe.hf.chat import Template
from qpipe.hf.tokenizer import read_tokenizer
from qpipe.llamacpp.model import Model


class Prompts:
    """A part of lm-eval's model interface; a subclass has the ``_template``."""

    @property
    def _template(self) -> Template:
        """The default chat template. Raises DataError where there is none."""
        raise NotImplementedError

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Messages as one prompt. Raises DataError if there is no template, or it fails."""
        if add_generation_prompt:
            return self._template.render(chat_history, add_generation_prompt=True)
        return self._template.render_open(chat_history)


class GgufPrompts(Prompts):
    """A part of lm-eval's model interface, for models out of GGUF files: tokens and prompts.

    A subclass calls `read_vocabulary` before anything else.
    """

    def read_vocabulary(self, file: Model, *, date: str | None) -> None:
        """Take the vocabulary of ``file``; ``date`` is the day that its chat template is told."""
        vocab = file.vocab
        self._file, self._date = file, date
        self._bos = vocab.bos if vocab.bos >= 0 else None
        self._bos_text = vocab.spelled(vocab.bos)
        self._encode = functools.lru_cache(maxsize=64)(self._tokens)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self._file.vocab.eos

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without context: BOS, else EOS."""
        return self.eot_token_id if self._bos is None else self._bos

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name, by which lm-eval would name a cache of prompts."""
        return self._file.path.name

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **_: Any,
    ) -> list[int]:
        """Token ids; BOS in front where the vocabulary wants one and the text has none.

        Control tokens are read as such, as Hugging Face's tokenizers do. Raises DataError.
        """
        return list(self._encode(string, add_special_tokens))[-(left_truncate_len or 0) :]

    def _tokens(self, string: str, special: bool | None) -> list[int]:
        vocab = self._file.vocab
        # As HFLM of lm-eval 0.4.13 (has_bos_prefix): a chat template spells BOS out, and a second
        # one would move every figure.
        spelled = bool(self._bos_text) and string.startswith(self._bos_text)
        wanted = vocab.add_bos and not spelled if special is None else special and vocab.add_bos
        front = [vocab.bos] if wanted else []
        return [*front, *vocab.tokenize(string, parse_special=True).tolist()]

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The model's template; it has one at most."""
        return self._file.chat_template if chat_template else None

    @functools.cached_property
    def _template(self) -> Template:
        text, vocab = self._file.chat_template, self._file.vocab
        if text is None:
            raise DataError(
                f"{self._file.path.name} has no chat template: set evaluate.chat_template to false"
            )
        names = {"bos_token": self._bos_text, "eos_token": vocab.spelled(vocab.eos)}
        return Template(text, names, self._date)


class CheckpointPrompts(Prompts):
    """A part of lm-eval's model interface, for checkpoints: tokens and prompts, as its HFLM has
    them (0.4.13). A subclass calls `read_vocabulary` before anything else."""

    note: str | None = None

    def read_vocabulary(self, folder: Path, *, date: str | None) -> None:
        """Take the tokenizer in ``folder``; ``date`` is the day that its chat template is told.

        Raises CheckpointError.
        """
        reading = read_tokenizer(folder)
        self.tokenizer, self.note, self._date = reading.tokenizer, reading.note, date
        self._encode = functools.lru_cache(maxsize=64)(self._tokens)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without context: BOS, else EOS."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name, by which lm-eval would name a cache of prompts."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **_: Any,
    ) -> list[int]:
        """Token ids; what the tokenizer puts in front, unless the text begins with it."""
        return list(self._encode(string, add_special_tokens))[-(left_truncate_len or 0) :]

    def _tokens(self, string: str, special: bool | None) -> list[int]:
        prefix = self.tokenizer.decode(self.prefix_token_id)
        if special is None and prefix and string.startswith(prefix):
            special = False
        options = {} if special is None else {"add_special_tokens": special}
        ids: list[int] = self.tokenizer.encode(string, verbose=False, **options)
        return ids

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The default template, if there is one."""
        return self._template.text if chat_template else None

    @functools.cached_property
    def _template(self) -> Template:
        return checkpoint_template(self.tokenizer, date=self._date)


def checkpoint_template(tokenizer: Any, *, date: str | None) -> Template:
    """The default chat template of a checkpoint's tokenizer. Raises DataError without one."""
    if not tokenizer.chat_template:
        raise DataError(
            "the model's tokenizer has no chat template: set evaluate.chat_template to false"
        )
    try:
        text = tokenizer.get_chat_template()
    except ValueError as error:  # transformers 5.17: several, of which none is the default
        raise DataError(f"evaluate.chat_template: {error}") from None
    return Template(text, tokenizer.special_tokens_map, date)
