"""The files of a checkpoint: its matrices that engines quantize, and what goes along with them."""

from __future__ import annotations

from pathlib import Path

from qpipe.core.layout import MANIFEST
from qpipe.machine.filesystem import link

# The module of the output matrix, in all architectures whose output matrix can be quantized.
OUTPUT = "lm_head"

# Files beside the weights that a tool may have rewritten, left out or mangled: the source's own
# are what users had, and what runtimes read.
_ALONG = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja",
    "chat_template.json", "generation_config.json", "preprocessor_config.json",
    "processor_config.json",
)  # fmt: skip


def quantizable(folder: Path, *, output: bool = False) -> dict[str, tuple[int, int]]:
    """The matrices of a checkpoint that engines quantize, by module: (rows, columns).

    All but embeddings and norms, and but for the output matrix unless asked for; of those that are
    packed already what they stand for. Raises CheckpointError.
    """
    from qpipe.packed import source

    matrices = {}
    words = ("embed", "norm", "wte", "wpe", *(() if output else (OUTPUT,)))
    for name, tensor in source.opened(folder).tensors.items():
        module = name.removesuffix(".weight")
        excluded = any(word in module.split(".")[-1] for word in words)
        if module != name and len(tensor.shape) == 2 and not excluded:
            matrices[module] = (tensor.shape[0], tensor.shape[1])
    return matrices


def files(folder: Path) -> list[Path]:
    """The files of an artifact, in order, but for its manifest."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)


def bring_along(source: Path, out: Path) -> None:
    """Link the source's tokenizer and generation files into ``out``, in place of a tool's own."""
    for path in files(source):
        if path.name in _ALONG or path.name.startswith("LICENSE"):
            (out / path.name).unlink(missing_ok=True)
            link(path, out / path.name)
