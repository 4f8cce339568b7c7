"""The papers' protocols beside the arithmetic of their scripts, on a small OPT and a small Llama.

GPTQ's opt.py and llama.py (`opt_eval`, `llama_eval`), AWQ's entry.py and AQLM's main.py count
alike: as many whole windows of ``seqlen`` as the text has; of each the mean loss of its seqlen - 1
predictions, times seqlen; e to the sum of these by windows times seqlen. So seqlen cancels out, and
what is left is the mean over all predictions, for each window has as many. The text is that of
`tests/texts/wikitext.py`, in the tokenizer's own words: OPT puts </s> before the whole, once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe.evaluators.perplexity import measure
from qpipe.evaluators.text.description import scores_of
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.windows import tokenize
from qpipe.hf.backend import TransformersBackend
from tests.texts import wikitext

pytestmark = pytest.mark.slow

SEQLEN = 2048
LINES = 120  # of the text: about 20 windows


def opt(folder: Path) -> Path:
    """An OPT with random weights, as its repositories are: a vocabulary and merges, and no
    tokenizer.json."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import OPTConfig, OPTForCausalLM

    folder.mkdir()
    tokenizer = ByteLevelBPETokenizer()
    words = ("<s>", "<pad>", "</s>", "<unk>")
    tokenizer.train_from_iterator(
        "".join(wikitext.rows()[:400]), vocab_size=500, special_tokens=[*words]
    )
    tokenizer.save_model(str(folder))
    names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    about = {**names, "add_bos_token": True, "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=500,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
        max_position_embeddings=SEQLEN,
        word_embed_proj_dim=32,
        init_std=0.3,
    )
    model: Any = OPTForCausalLM
    model(config).save_pretrained(folder)
    return folder


def llama(folder: Path) -> Path:
    """Trained on stories, with SentencePiece and <s> before a text."""
    return Path(__file__).parents[1] / "data" / "models" / "stories260K"


def papers_loop(model: Any, ids: Any, seqlen: int, *, half: bool = False) -> tuple[float, int]:
    """The perplexity as the scripts count it, and over how many windows.

    ``half``: the loss rounded to float16, as that of a model in half precision.
    """
    import torch

    windows = ids.numel() // seqlen
    nlls = []
    for index in range(windows):
        batch = ids[:, index * seqlen : (index + 1) * seqlen]
        with torch.no_grad():
            logits = model(batch).logits
        loss = torch.nn.CrossEntropyLoss()(logits[0, :-1], batch[0, 1:])
        nlls.append((loss.half() if half else loss).float() * seqlen)
    return math.exp(float(torch.stack(nlls).sum()) / (windows * seqlen)), windows


@pytest.mark.parametrize(
    ("name", "make", "seqlen"), [("gptq-2048", opt, SEQLEN), ("aqlm-4096", llama, 512)]
)
def test_the_papers_perplexity(
    name: str, make: Callable[[Path], Path], seqlen: int, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = make(tmp_path / "model")
    rows = wikitext.rows()[:LINES]
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=False)
    ids = tokenizer("\n\n".join(rows), return_tensors="pt").input_ids
    assert ids[0, 0] == tokenizer.bos_token_id
    assert (ids == tokenizer.bos_token_id).sum() == 1
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs, count = papers_loop(model, ids, seqlen)
    half, _ = papers_loop(model, ids, seqlen, half=True)
    text = "".join(row or " \n" for row in rows)
    chosen = protocol(name).with_overrides(n_ctx=seqlen)
    with TransformersBackend(folder, threads=2) as backend:
        tokenized = tokenize(text, backend, chosen, name="")
        ours = scores_of(tokenized, measure(backend, tokenized).nll)
    assert len(tokenized.windows.tokens) == count > 10
    assert tokenized.windows.tokens.reshape(-1).tolist() == ids[0, : count * seqlen].tolist()
    assert ours.value == pytest.approx(theirs, rel=1e-4)
    # A loss in float16 has 11 bits: that of each window is off by 1e-3 at most, their mean by less.
    assert half == pytest.approx(theirs, rel=2e-3)
