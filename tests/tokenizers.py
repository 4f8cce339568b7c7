"""Checkpoints for tests whose tokenizer is byte-level BPE, trained here on the stories."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
TEXT = (DATA / "texts" / "tinystories_train_head_ascii.txt").read_text()
STORIES = DATA / "models" / "stories260K"
SPECIAL = ("<|begin|>", "<|end|>", "<|turn|>")


def byte_level(folder: Path, **config: Any) -> Path:
    """stories260K with a byte-level vocabulary of 512, pretokenized as Llama 3's; ``config`` are
    fields of tokenizer_config.json."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    shutil.copytree(STORIES, folder)
    (folder / "tokenizer.model").unlink()
    made: Any = Tokenizer(models.BPE())
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # noqa: E501
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[*SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TEXT[:100_000]], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    made.save(str(folder / "tokenizer.json"))
    named = {
        "bos_token": "<|begin|>",
        "eos_token": "<|end|>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(named | config))
    (folder / "special_tokens_map.json").unlink()
    model = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(model | {"bos_token_id": 0, "eos_token_id": 1}))
    (folder / "generation_config.json").unlink()
    return folder
