#!/usr/bin/env bash
# transformers 5: AutoModelForCausalLM.from_pretrained passes over its argument attn_implementation where config.json has
# the field _attn_implementation; the model's own class follows the argument, and so do both where the field is
# attn_implementation. A fine-tune saved with flash_attention_2 under the first name cannot be loaded by the Auto class
# where that package is missing, whatever is asked for. A config that was loaded first and changed is followed: qpipe
# gives such a one (qpipe/hf/load.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.17.0 numpy
cat > probe.py <<'PY'
import json
from pathlib import Path

import transformers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

SIZES = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, vocab_size=96)
AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)).save_pretrained("model")
file = Path("model/config.json")
plain = json.loads(file.read_text())
print("transformers", transformers.__version__)


def computed(cls, **asked):
    return cls.from_pretrained("model", **asked).config._attn_implementation


for field, by_auto in (("attn_implementation", "sdpa"), ("_attn_implementation", "eager")):
    file.write_text(json.dumps({**plain, field: "eager"}))
    auto = computed(AutoModelForCausalLM, attn_implementation="sdpa")
    own = computed(LlamaForCausalLM, attn_implementation="sdpa")
    print(f"{field} is eager in config.json, sdpa is asked for: {auto} by the Auto class, {own} by LlamaForCausalLM")
    assert (auto, own) == (by_auto, "sdpa"), "the argument is followed otherwise now"
config = AutoConfig.from_pretrained("model")
config._attn_implementation = "sdpa"
assert computed(AutoModelForCausalLM, config=config) == "sdpa", "a changed config is not followed"
print("a config that was changed is followed")
PY
venv/bin/python probe.py
