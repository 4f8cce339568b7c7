#!/usr/bin/env bash
# AWQ to 8 bits by GPTQModel 7.6.0 makes another model, without a word, in two ways.
# (1) Where scales are BF16, the largest weight of a group gets code 256, which is packed as 0: it
# comes out as the smallest. Logits of a random Llama move by about half; by GPTQ to 8 bits, 0.7 %.
# (2) AWQ scales a matrix's columns and undoes that in the norm before it. GPTQModel takes
# post_attention_layernorm for the norm before the MLP, as in Llama; in OLMo 2, Gemma 2 and EXAONE 4
# it stands behind the attention. In Phi the norm feeds the MLP too. Once codes are clamped, so that
# (1) is gone, Llama's logits move by 1.3 %, theirs by 4 to 9 %.
# Makes its own random models; needs pip, a C++ compiler and some 6 GB for a virtual environment.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 numpy==2.2.6 transformers==5.17.0 gptqmodel==7.6.0 \
    optimum==2.3.0 defuser==0.0.28 tokenicer==0.0.14 tokenizers sentencepiece accelerate 2> pip.log \
    || { tail -5 pip.log; exit 1; }
cat > tokens.py <<'P'
from tokenizers import Tokenizer, models, pre_tokenizers
t = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, 1024)}}, "<unk>"))
t.pre_tokenizer = pre_tokenizers.Whitespace()
from transformers import PreTrainedTokenizerFast
PreTrainedTokenizerFast(tokenizer_object=t, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>").save_pretrained("tokens")
P
cat > make.py <<'P'
import shutil, sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
sizes = dict(vocab_size=1024, bos_token_id=1, eos_token_id=2, pad_token_id=0, hidden_size=128,
    intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    head_dim=32, max_position_embeddings=128, tie_word_embeddings=False)
own = {"gemma2": dict(sliding_window=64)}
for kind in sys.argv[1:]:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**sizes, **own.get(kind, {})})
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(kind)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"tokens/{name}", kind)
P
cat > quantize.py <<'P'
import os, sys
os.environ["GPTQMODEL_CPU_WORKERS"] = "2"
import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
ids = [[(7 * i + 3 * j * j) % 1000 + 3 for j in range(48)] for i in range(4)]
data = [{"input_ids": one, "attention_mask": [1] * 48} for one in ids]
from gptqmodel.nn_modules.qlinear import torch_awq
pack = torch_awq.pack_awq
def clamped(codes, zeros, bits):
    return pack(codes.clamp(0, 2**bits - 1), zeros, bits)
ways = {"gptq": ("gptq", "gptq", {}, pack), "awq": ("awq", "gemm", {"backend": BACKEND.TORCH}, pack),
        "clamped": ("awq", "gemm", {"backend": BACKEND.TORCH}, clamped)}
for kind in sys.argv[1:]:
    for name, (method, format, how, torch_awq.pack_awq) in ways.items():
        config = QuantizeConfig(quant_method=method, format=format, bits=8, group_size=32)
        model = GPTQModel.load(kind, config)
        model.quantize(data, batch_size=4, calibration_data_min_length=1, **how)
        model.save(f"{kind}-{name}")
P
cat > compare.py <<'P'
import sys, torch
from transformers import AutoModelForCausalLM
ids = torch.tensor([[(11 * j) % 1000 + 3 for j in range(32)]])
def logits(folder):
    with torch.inference_mode():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(input_ids=ids).logits
changed = False
for kind in sys.argv[1:]:
    plain = logits(kind)
    gptq, awq, clamped = (
        float((logits(f"{kind}-{way}") - plain).norm() / plain.norm()) for way in ("gptq", "awq", "clamped"))
    print(f"RESULT {kind:<8} {gptq:8.2%} {awq:8.2%} {clamped:8.2%}")
    changed |= gptq > 0.02 or awq < 0.1 or (clamped > 0.02) == (kind == "llama")
print("RESULT", "this has changed" if changed else "as seen before")
sys.exit(changed)
P
kinds="llama olmo2 gemma2 exaone4 phi"
venv/bin/pip list 2> log | grep -iE "^(gptqmodel|transformers|torch) "
for step in tokens make quantize; do
    venv/bin/python $step.py $kinds >> log 2>&1 || { tail -20 log; exit 1; }
done
venv/bin/python compare.py $kinds 2>> log > compared && status=0 || status=$?
echo "logits moved by    GPTQ      AWQ  AWQ with codes clamped"
sed -n 's/^RESULT //p' compared
exit $status
