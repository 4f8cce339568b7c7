"""How to run what a repository holds, in commands that can be copied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from qpipe.export.card.content import CardContent
from qpipe.export.names import encoding
from qpipe.report.markup import plain
from qpipe.results.comparison import ModelRow

# What llama.cpp and Ollama take where a repository is named without a type.
_USUAL = "Q4_K_M"

# Packages beside transformers (5.17, quantizers/) that loading takes, by quant_method.
_PACKAGES = {
    "gptq": ("optimum", "gptqmodel"),
    "awq": ("accelerate", "gptqmodel"),
    "compressed-tensors": ("compressed-tensors",),
    "bitsandbytes": ("accelerate", "bitsandbytes"),
    "torchao": ("torchao",),
    "auto-round": ("auto-round",),
}


def usage(content: CardContent) -> Iterator[str]:
    """Return lines of Markdown."""
    yield from _gguf(content) if content.gguf else _checkpoint(content)


def _gguf(content: CardContent) -> Iterator[str]:
    row = _example(content)
    files = sorted(file.name for file in content.listed.get(row.name, ()))
    first = files[0] if files else "FILE.gguf"
    repository = content.publishing.repository
    if repository is None:
        yield from _local(content, row, first)
        return
    kind = encoding(first) or row.format or row.name
    chosen = shlex.quote(f"{repository}:{kind}")
    yield from _shell("llama.cpp", f"llama-cli -hf {chosen}")
    yield from _shell("llama.cpp, as a server", f"llama-server -hf {chosen}")
    usual = kind == row.format
    if len(files) == 1:  # Ollama takes no model in parts from the hub
        tag = kind if usual else first  # a file's whole name is a tag of the hub's, too
        yield from _shell("Ollama", f"ollama run {shlex.quote(f'hf.co/{repository}:{tag}')}")
    page = f"https://huggingface.co/{repository}" + f"@{kind}" * usual
    yield from _shell("LM Studio", f"lms get {shlex.quote(page)}")
    if len(content.models) > 1:
        yield f"In place of `{kind}`, the last word of another file's name takes that file."
        yield ""


def _local(content: CardContent, row: ModelRow, first: str) -> Iterator[str]:
    """Commands for files that lie in the current folder."""
    file = shlex.quote(first)
    yield from _shell("llama.cpp", f"llama-cli -m {file}")
    yield from _shell("llama.cpp, as a server", f"llama-server -m {file}")
    parts = len(content.listed.get(row.name, ()))
    if parts < 2:
        yield from _shell("LM Studio", f"lms import {file}")
    name = content.levels.named(row)
    whole = f", by the first of its {parts} parts, which lie beside each other" if parts > 1 else ""
    others = "; another file of the table in its place runs that one"
    if len(content.models) > 1 or whole:
        yield f"This is {plain(name)}{whole}{others if len(content.models) > 1 else ''}."
        yield ""


def _example(content: CardContent) -> ModelRow:
    """The level that commands name: the usual one, by the file that is called so; else one in the
    middle of the front."""
    usual = [row for row in content.levels.rows if row.format == _USUAL]
    for row in usual:
        if any(encoding(file.name) == _USUAL for file in content.listed.get(row.name, ())):
            return row
    front = usual or content.levels.front or [*content.levels.rows]
    return front[len(front) // 2]


def _checkpoint(content: CardContent) -> Iterator[str]:
    name = content.publishing.repository or "."
    packages = ["transformers", *_PACKAGES.get(quant_method(content) or "", ())]
    yield "transformers:"
    yield ""
    yield "```bash"
    yield f"pip install {' '.join(packages)}"
    yield "```"
    yield ""
    yield "```python"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield f"tokenizer = AutoTokenizer.from_pretrained({json.dumps(name)})"
    yield f'model = AutoModelForCausalLM.from_pretrained({json.dumps(name)}, device_map="auto")'
    yield "```"
    yield ""
    yield from _shell("vLLM", f"vllm serve {shlex.quote(name)}")


def quant_method(content: CardContent) -> str | None:
    """Return the method by which transformers knows how a checkpoint is packed."""
    from qpipe.gguf import jsonfile

    config: Path = content.models[0].artifact.path / "config.json"
    if not config.is_file():
        return None
    packed = jsonfile.load(config).get("quantization_config")
    method = packed.get("quant_method") if isinstance(packed, dict) else None
    return method if isinstance(method, str) else None


def _shell(words: str, command: str) -> Iterator[str]:
    yield f"{words}:"
    yield ""
    yield "```bash"
    yield command
    yield "```"
    yield ""
