"""The bytes that a vocabulary takes in a GGUF file, with the template and names beside it.

Where the tokenizer is not at hand, a known tokenizer's: what published files of models with it have
beside tensors and their table, which differs by some hundred bytes with names and templates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qpipe.errors import RecipeError
from qpipe.sizes.source import ModelSource

_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json")

# By rows of the embedding: whose tokenizer it is, and its bytes in files of llama.cpp's converter.
# Measured from files on the hub: their size less tensors, table of tensors and sizes of the model.
_KNOWN = {
    32000: ("Llama 2", 723_200),
    32064: ("Phi-3", 730_000),
    32768: ("Mistral v3", 740_100),
    49152: ("SmolLM2", 1_769_000),
    65536: ("LFM2", 2_376_200),
    100278: ("OLMo 2", 3_539_500),
    100352: ("OLMo 2", 3_541_000),
    128256: ("Llama 3", 7_822_300),
    131072: ("Tekken", 7_860_000),
    151936: ("Qwen", 5_932_400),
    152064: ("Qwen", 5_934_500),
    201088: ("gpt-oss", 12_979_400),
    256000: ("Gemma 2", 6_028_600),
    262144: ("Gemma 3", 6_512_400),
    262208: ("Gemma 3", 6_513_900),
}
# The same number of rows, and another tokenizer, by the model's type.
_OF_TYPE = {"gemma4": ("Gemma 4", 15_775_400)}
# A token's bytes by the kind of tokenizer, for all others: with merges, and without.
_PER_TOKEN = {"pieces": 24, "merges": 42}
_PIECES = ("llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "gemma3_text", "phi3")
_FEW = 40_000  # tokens: fewer, and a llama has pieces


@dataclass(frozen=True)
class Vocabulary:
    """A ``folder`` with the tokenizer's files, or the ``size`` in bytes, or neither."""

    folder: Path | None = None
    size: int | None = None

    @classmethod
    def of(cls, source: ModelSource, given: Path | int | None) -> Vocabulary:
        """The one that a caller gave, else the files beside config.json. Raises RecipeError."""
        if isinstance(given, bool) or (isinstance(given, int) and given < 0):
            raise RecipeError(f"vocabulary is {given!r}, neither a folder nor a number of bytes")
        if isinstance(given, int):
            return cls(size=given)
        folder = source.folder if given is None else given
        if folder is not None and any((folder / name).is_file() for name in _FILES):
            return cls(folder)
        if given is not None:
            raise RecipeError(f"vocabulary: {given} has none of {', '.join(_FILES)}")
        return cls()

    @property
    def identity(self) -> str:
        """A text that only the same one has."""
        if self.folder is None:
            return str(self.size)
        stats = [(self.folder / name).stat() for name in _FILES if (self.folder / name).is_file()]
        return f"{self.folder} {[(each.st_mtime_ns, each.st_size) for each in stats]}"

    def assumed(self, rows: int, model_type: str) -> tuple[int, str]:
        """The bytes that it takes where only the number of its ``rows`` is known, and a note."""
        if self.size is not None:
            return self.size, f"vocabulary: {self.size:,} bytes, as given"
        if model_type in _OF_TYPE:
            name, size = _OF_TYPE[model_type]
            return size, f"vocabulary: {size:,} bytes, as {name}'s takes"
        if rows in _KNOWN:
            name, size = _KNOWN[rows]
            return size, f"vocabulary: {size:,} bytes, as {name}'s with as many tokens takes"
        few = model_type in _PIECES and rows < _FEW
        kind = "pieces" if few or model_type.startswith("gemma") else "merges"
        size = rows * _PER_TOKEN[kind]
        return size, (
            f"vocabulary: about {size:,} bytes, {_PER_TOKEN[kind]} for each of {rows:,} tokens: "
            "its files are not here"
        )
