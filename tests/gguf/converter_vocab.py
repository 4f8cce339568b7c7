"""What llama.cpp's converter makes of tokenizers: ``python converter_vocab.py SCRIPT JOBS OUT``.

JOBS is a JSON list of {folder, model_class, pre}; OUT gets for each the ``tokenizer.*`` metadata
that the class's ``set_vocab`` writes, or {"error": …}. ``pre`` stands for the name of the
pre-tokenizer, which the converter knows by the tokens of published vocabularies alone.
"""
# ruff: noqa: E402

from __future__ import annotations

import sys

sys.path[0] = sys.argv[1].rpartition("/")[0]

import json
from pathlib import Path
from typing import Any

import convert_hf_to_gguf  # noqa: F401 - puts its gguf package first
import gguf
from conversion import get_model_class  # type: ignore[import-not-found]
from conversion.base import ModelBase  # type: ignore[import-not-found]


def made(folder: Path, model_class: str, pre: str | None) -> dict[str, Any]:
    """The metadata of one folder."""
    kind = get_model_class(model_class)
    model = object.__new__(kind)
    model.dir_model = folder
    model.hparams = ModelBase.load_hparams(folder, False)
    model.hparams |= model.hparams.get("text_config", {})
    model.is_mistral_format, model.origin_hf_arch = False, model_class
    arch = gguf.MODEL_ARCH_NAMES[model.model_arch]
    model.gguf_writer = gguf.GGUFWriter(path=None, arch=arch)
    model.get_vocab_base_pre = lambda tokenizer: pre
    if hasattr(model, "impl"):
        raise AssertionError
    kind.set_vocab(model)
    shard = model.gguf_writer.kv_data[0]
    return {key: value.value for key, value in shard.items() if key.startswith("tokenizer.")}


def main(jobs: str, out: str) -> None:
    """Make all of them."""
    results = []
    for job in json.loads(Path(jobs).read_text()):
        try:
            fields = made(Path(job["folder"]), job["model_class"], job["pre"])
        except Exception as error:  # noqa: BLE001 - a job's own failure is its result
            fields = {"error": f"{type(error).__name__}: {error}"}
        results.append(fields)
    Path(out).write_text(json.dumps(results, default=lambda b: bytes(b).decode()))


if __name__ == "__main__":
    main(*sys.argv[2:])
