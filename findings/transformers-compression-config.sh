#!/usr/bin/env bash
# transformers 5 computes another model than the checkpoint holds, and reports no missing weight, where the settings of
# compressed-tensors stand under config.json's compression_config, their name until 2024: they are passed over, integers
# are taken for weights, and only unexpected_keys tells of the scales. Under quantization_config the same files are
# right. qpipe moves such settings to where they are read, and takes no load with keys left over.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.17.0 accelerate==1.15.0 compressed-tensors==0.19.0 numpy
cat > probe.py <<'PY'
import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

SIZES = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
             vocab_size=96, max_position_embeddings=64)
TOKENS = torch.tensor([[1, 5, 9, 17, 33, 65, 2, 40]])
torch.manual_seed(0)
plain = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)).eval()
weights = {name: value.detach().float() for name, value in plain.state_dict().items()}


def checkpoint(name, tensors, **settings):
    folder = Path(name)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    fields = {**LlamaConfig(**SIZES).to_dict(), "architectures": ["LlamaForCausalLM"], **settings}
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def loaded(folder):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    with torch.inference_mode():
        off = (model(TOKENS).logits - plain(TOKENS).logits).abs().mean() / plain(TOKENS).logits.std()
    counts = {kind: len(info[kind]) for kind in ("missing_keys", "mismatched_keys", "unexpected_keys")}
    print(f"{folder}: logits off by {off:.3f} of their deviation; {counts}")
    return float(off), counts


def packed():
    found = {}
    for name, value in weights.items():
        if "_proj" not in name:
            found[name] = value
            continue
        scale = value.abs().amax(1, keepdim=True) / 127
        found |= {name: (value / scale).round().to(torch.int8), name.replace("weight", "weight_scale"): scale}
    return found


integers = packed()
inputs = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True, "symmetric": True}
group = {"targets": ["Linear"], "format": "int-quantized", "input_activations": inputs,
         "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}}
settings = {"quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
            "ignore": ["lm_head"], "config_groups": {"group_0": group}}
print("transformers", transformers.__version__)
right, _ = loaded(checkpoint("quantization_config", integers, quantization_config=settings))
wrong, keys = loaded(checkpoint("compression_config", integers, compression_config=settings))
assert right < 0.05, "a checkpoint that is right is not computed rightly"
assert wrong > 0.3 and not keys["missing_keys"], "compression_config is followed, or its gaps are told, now"
print("computed without its scales, and no weight is reported as missing")
PY
venv/bin/python probe.py
