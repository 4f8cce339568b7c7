"""A trained Llama of 12.8 million weights: `python -m bench.trained FOLDER` makes it, in a process
of its own, in about four minutes of two cores.

tinystories-d256, each layer four times in a row and with a quarter of its outputs, which is about
the same function (Kim et al., SOLAR 10.7B: Scaling Large Language Models with Simple yet Effective
Depth Up-Scaling, 2023, stack layers of a trained model likewise); then trained on the shipped
training text, all weights, with a fixed seed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from qpipe.sources.pinning import DATA

SOURCE = DATA / "tinystories-d256"
TEXT = DATA / "texts" / "tinystories_lower_train.txt"
NAME = "stacked-13M"
COPIES, STEPS, BATCH, WIDTH, RATE, SEED = 4, 180, 2, 256, 5e-4, 0
_KEPT = Path(__file__).with_name("cache")


def trained() -> Path:
    """The folder of the model, made where it is not there yet."""
    folder = _KEPT / NAME
    if not (folder / "config.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "bench.trained", folder], check=True)
    return folder


def train(out: Path) -> None:
    """Write the checkpoint."""
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    model = _stacked(LlamaForCausalLM.from_pretrained(SOURCE, dtype=torch.float32))
    tokenizer = Tokenizer.from_file(str(SOURCE / "tokenizer.json"))
    tokens = torch.tensor(tokenizer.encode(TEXT.read_text()).ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    for step in range(STEPS):
        starts = torch.randint(len(tokens) - WIDTH, (BATCH,))
        batch = torch.stack([tokens[start : start + WIDTH] for start in starts])
        loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 20 == 0 or step == STEPS - 1:
            print(f"step {step + 1} of {STEPS}: loss {loss.item():.3f}", file=sys.stderr)
    unfinished = out.with_suffix(".part")
    model.to(torch.bfloat16).save_pretrained(unfinished)
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(SOURCE / name, unfinished / name)
    unfinished.rename(out)


def _stacked(small: Any) -> Any:
    """A model with ``COPIES`` of each layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**{**small.config.to_dict(), "num_hidden_layers": 16, "dtype": "float32"})
    assert config.num_hidden_layers == COPIES * small.config.num_hidden_layers
    model = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    weights = dict(small.state_dict())
    for name, tensor in small.state_dict().items():
        if ".layers." not in name:
            continue
        before, _, after = name.partition(".layers.")
        number, _, rest = after.partition(".")
        shared = rest in ("self_attn.o_proj.weight", "mlp.down_proj.weight")
        for copy in range(COPIES):
            at = COPIES * int(number) + copy
            weights[f"{before}.layers.{at}.{rest}"] = tensor / COPIES if shared else tensor
    model.load_state_dict(weights)
    return model


if __name__ == "__main__":
    train(Path(sys.argv[1]))
