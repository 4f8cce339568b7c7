#!/usr/bin/env bash
# llm-compressor's GPTQ on a CPU: the same model, samples, seed and versions give other 4-bit codes where torch uses
# other vector instructions (ATEN_CPU_CAPABILITY, by default what the processor has) or another number of threads. The
# same of both twice give the same bytes. Where activations span few directions, as those of few distinct tokens do,
# the inverse of the Hessian multiplies what rounding leaves: here some 2 or 3 of 100 codes differ. A checkpoint so
# made is the same on another machine only if processor and threads are.
set -euo pipefail
if [ "$(uname -m)" != x86_64 ]; then
  echo "needs x86-64: torch has one set of instructions elsewhere"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 llmcompressor==0.14.0.1 compressed-tensors==0.19.0 transformers==5.17.0 numpy==2.2.6
cat > quantize.py <<'PY'
import sys

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(0)
config = LlamaConfig(
    hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, vocab_size=512, max_position_embeddings=256,
)
words = Tokenizer(models.WordLevel({str(word): word for word in range(512)}, unk_token="0"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0")
LlamaForCausalLM(config).save_pretrained("model")
tokenizer.save_pretrained("model")
ids = torch.randint(0, 48, (32, 128), generator=torch.Generator().manual_seed(1))
data = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()})
model = LlamaForCausalLM.from_pretrained("model", dtype="auto")
recipe = GPTQModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"])
oneshot(
    model=model, dataset=data, processor=tokenizer, recipe=recipe, max_seq_length=128,
    num_calibration_samples=32,
)
model.save_pretrained(sys.argv[1], save_compressed=True)
PY
cat > compare.py <<'PY'
from importlib.metadata import version

import torch
from safetensors.torch import load_file


def codes(folder):
    packed = load_file(f"{folder}/model.safetensors")
    names = sorted(name for name in packed if name.endswith("weight_packed"))
    words = torch.cat([packed[name].flatten() for name in names])
    return torch.stack([(words >> (4 * place)) & 15 for place in range(8)])


first = codes("avx2")
same, changed, threads = (int((first != codes(run)).sum()) for run in ("again", "default", "two"))
print(f"llmcompressor {version('llmcompressor')}, torch {version('torch')}: of {first.numel():,} codes")
print(f"AVX2 and AVX2 again: {same:,} differ; AVX2 and torch's default instructions: {changed:,}")
print(f"one thread and two: {threads:,}")
assert same == 0, "one kind of instructions gives one result no more"
assert changed > first.numel() / 1000, "other instructions give (nearly) the same codes now"
assert threads > first.numel() / 1000, "two threads give (nearly) the same codes now"
PY
while read -r instructions threads run; do
  ATEN_CPU_CAPABILITY=$instructions OMP_NUM_THREADS=$threads venv/bin/python quantize.py "$run" "$threads" \
    </dev/null >log 2>&1 || { tail -5 log; exit 1; }
done <<'RUNS'
avx2 1 avx2
avx2 1 again
default 1 default
avx2 2 two
RUNS
venv/bin/python compare.py
