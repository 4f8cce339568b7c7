#!/usr/bin/env bash
# llama-server gives a character of several tokens the log-probability of its last token.
# Asked for logprobs, a completion lists them for what it generated. Of tokens that end inside a
# character (byte tokens, and many of byte-level BPE) there is no entry: each is kept back until the
# character is whole (tools/server/server-context.cpp, process_token), and the token that completes it
# is listed with the whole character's bytes and with its own log-probability alone. So the list is
# shorter than usage.completion_tokens, its sum is not the log-probability of the text, and nothing in
# the answer says so.
# Seen (xllamacpp 2026.10.11549, llama.cpp 0.6.0-dev): 'é 你' is 6 tokens, and 3 are listed:
# [195, 169] -4.49, [32] -4.17, [228, 189, 160] -6.31; the text has -33.12, the list -14.97.
# Makes its own model; needs pip and some 200 MB for a virtual environment.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip -q install xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.2.6 2> pip.log \
    || { tail -5 pip.log; exit 1; }
cat > make.py <<'P'
import gguf, numpy as np
words = ["<unk>", "<s>", "</s>"] + [f"<0x{n:02X}>" for n in range(256)] + ["▁", "a", "b"]
kinds = [2, 3, 3] + [6] * 256 + [1] * 3
width, hidden = 64, 128
file = gguf.GGUFWriter("model.gguf", "llama")
for name, value in {"context_length": 128, "embedding_length": width, "block_count": 1,
                    "feed_forward_length": hidden, "attention.head_count": 2,
                    "vocab_size": len(words), "rope.dimension_count": width // 2}.items():
    file.add_uint32(f"llama.{name}", value)
file.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
file.add_tokenizer_model("llama")
file.add_token_list([word.encode() for word in words])
file.add_token_scores([0.0] * len(words))
file.add_token_types(kinds)
file.add_bos_token_id(1)
file.add_eos_token_id(2)
draw = np.random.default_rng(1).standard_normal
shapes = {"token_embd": (len(words), width), "output": (len(words), width),
          "blk.0.attn_q": (width, width), "blk.0.attn_k": (width, width),
          "blk.0.attn_v": (width, width), "blk.0.attn_output": (width, width),
          "blk.0.ffn_gate": (hidden, width), "blk.0.ffn_up": (hidden, width),
          "blk.0.ffn_down": (width, hidden)}
for name, shape in shapes.items():
    file.add_tensor(f"{name}.weight", (draw(shape) * 0.1).astype(np.float32))
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
    file.add_tensor(f"{name}.weight", np.ones(width, np.float32))
file.write_header_to_file(); file.write_kv_data_to_file(); file.write_tensors_to_file(); file.close()
P
cat > ask.py <<'P'
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup = "model.gguf", 128, False
server = xllamacpp.Server(params)
prompt = [1, 260, 261]
text = "é 你".encode()
tokens = [3 + byte for byte in text]
def ask(prompt, count, **more):
    answer = server.handle_completions({"prompt": prompt, "max_tokens": count, "temperature": 0.0,
                                        **more})
    (choice,) = answer["choices"]
    assert answer["usage"]["completion_tokens"] == count
    return choice["text"], choice["logprobs"]["content"]
written, entries = ask(prompt, len(tokens), grammar='root ::= "é 你"', logprobs=1)
assert written.encode() == text
listed = [(entry["bytes"], round(entry["logprob"], 2)) for entry in entries]
total = 0.0
for n, token in enumerate(tokens):  # of each token: from the list of all, a step each
    _, (step,) = ask(prompt + tokens[:n], 1, grammar='root ::= "a"', logprobs=1000)
    (own,) = (one["logprob"] for one in step["top_logprobs"] if one["id"] == token)
    total += own
    if n == len(tokens) - 1:
        assert abs(own - entries[-1]["logprob"]) < 0.01
print(f"{written!r} is {len(tokens)} tokens, and {len(entries)} are listed: "
      + ", ".join(f"{of} {value}" for of, value in listed)
      + f"; the text has {total:.2f}, the list {sum(value for _, value in listed):.2f}")
assert [of for of, _ in listed] == [[195, 169], [32], [228, 189, 160]]
assert total < sum(value for _, value in listed) - 10
P
venv/bin/python make.py
venv/bin/python ask.py 2> server.log || { tail -3 server.log; exit 1; }
