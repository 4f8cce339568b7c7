#!/usr/bin/env bash
# transformers 5 builds a tokenizer anew by the class that tokenizer_config.json names, and passes over
# tokenizer.json's normalizer and pre-tokenizer: a byte-level vocabulary that calls itself LlamaTokenizerFast (as
# many fine-tunes of Llama 3 do) is read without its spaces, a SentencePiece one without the space that stands before
# a text which begins with a space.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q transformers==5.17.0 tokenizers==0.23.3
cat > probe.py <<'PY'
import json
from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

TEXT = ["once upon a time there was a little girl and a dog who went to the park "] * 200


def made(name, tokenizer, alphabet):
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    folder = Path(name)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "LlamaTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
              "legacy": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


def compare(folder, text):
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(folder)
    a, b = file.encode(text, add_special_tokens=False).ids, auto(text, add_special_tokens=False)["input_ids"]
    print(f"{folder}: {text!r}\n  tokenizer.json: {a} -> {file.decode(a)!r}\n  {type(auto).__name__}: {b} -> {file.decode(b)!r}")
    return a != b


bytes_ = Tokenizer(models.BPE())
bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
bytes_.decoder = decoders.ByteLevel()
pieces = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
pieces.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
pieces.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)])

print("transformers", transformers.__version__)
one = compare(made("byte-level", bytes_, pre_tokenizers.ByteLevel.alphabet()), "once upon a time")
two = compare(made("sentencepiece", pieces, []), " a dog")
assert one, "a byte-level tokenizer named LlamaTokenizerFast is read right now"
assert two, "a SentencePiece text that begins with a space is read right now"
print("both are read otherwise than tokenizer.json has them")
PY
venv/bin/python probe.py
