"""How to run what a repository holds, in commands that can be copied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from qpipe.export.card.content import CardContent
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
    kind = row.format or row.name
    repository = content.publishing.repository
    first = min((file.name for file in content.listed.get(row.name, ())), default="FILE.gguf")
    if repository is None:
        yield from _shell("llama.cpp", f"llama-cli -m {shlex.quote(first)}")
        yield from _shell("llama.cpp, as a server", f"llama-server -m {shlex.quote(first)}")
        return
    chosen = shlex.quote(f"{repository}:{kind}")
    yield from _shell("llama.cpp", f"llama-cli -hf {chosen}")
    yield from _shell("llama.cpp, as a server", f"llama-server -hf {chosen}")
    if len(content.listed.get(row.name, ())) == 1:  # Ollama takes no model in parts from the hub
        yield from _shell("Ollama", f"ollama run {shlex.quote(f'hf.co/{repository}:{kind}')}")
    page = shlex.quote(f"https://huggingface.co/{repository}@{kind}")
    yield from _shell("LM Studio", f"lms get {page}")
    if len(content.models) > 1:
        yield f"Another type in place of `{kind}` takes another file of the table."
        yield ""


def _example(content: CardContent) -> ModelRow:
    """The level that commands name: the usual one, else one in the middle of the front."""
    rows = {row.format: row for row in content.levels.rows}
    front = content.levels.front or [*content.levels.rows]
    usual = rows.get(_USUAL)
    return usual if usual is not None else front[len(front) // 2]


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
