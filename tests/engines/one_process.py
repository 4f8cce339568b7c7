"""`python -m tests.engines.one_process FOLDER`: many tiny models through engines, in one process.

FOLDER has cases.json; results.json says of each case, in order, what became of it: ``refused`` in
plan or ``made`` (with its label, and how far its logits are from the source's, in parts of their
own deviation), and for anything else ``failed``, with the reason.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qpipe.errors import RecipeError
from qpipe.results.facts import to_facts
from qpipe.stages.base import Work
from qpipe.stages.registry import all_stages, chosen

_TOKENIZER = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
_SIZES: dict[str, Any] = {
    "vocab_size": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "max_position_embeddings": 128, "intermediate_size": 128, "num_key_value_heads": 1,
    "head_dim": 32,
}  # fmt: skip
_EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
    "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64,
}  # fmt: skip
_OWN: dict[str, dict[str, Any]] = {
    "phi3": {"original_max_position_embeddings": 128},
    "gpt2": {"n_embd": 64, "n_layer": 1, "n_head": 2, "n_positions": 128},
    "opt": {"ffn_dim": 128, "word_embed_proj_dim": 64},
    "falcon": {"multi_query": True, "new_decoder_architecture": False},
    "bloom": {"n_layer": 1, "n_head": 2},
    **dict.fromkeys(("qwen2_moe", "qwen3_moe"), _EXPERTS),
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}
_MULTIHEAD = ("gpt_neox", "phi", "opt", "bloom", "falcon")


class Bench:
    """The models, each made once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        texts = root / "texts"
        texts.mkdir(exist_ok=True)
        samples = [[(7 * i + 3 * j * j) % 1000 + 3 for j in range(48)] for i in range(4)]
        (texts / "calibration.json").write_text(json.dumps({"samples": samples}))

    @cache  # noqa: B019  as long as the process
    def model(self, kind: str, given: str) -> Path:
        """A random model; ``given`` are fields of its config as JSON; ``same_head`` an output
        matrix that equals the embeddings, and is not tied to them."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        fields = {**_SIZES, **_OWN.get(kind, {}), **json.loads(given)}
        if kind in _MULTIHEAD:
            del fields["num_key_value_heads"], fields["head_dim"]
        same = fields.pop("same_head", False)
        torch.manual_seed(0)
        from_config: Any = AutoModelForCausalLM.from_config
        made = from_config(AutoConfig.for_model(kind, **fields))
        for name, parameter in made.named_parameters():
            if name.endswith(".bias"):  # of zeros none is counted, as AutoGPTQ makes them up
                parameter.data.normal_(std=0.02)
        if same:
            made.lm_head.weight.data.copy_(made.model.embed_tokens.weight.data)
        folder = self.root / f"model-{kind}-{abs(hash(given))}"
        made.to(torch.bfloat16).save_pretrained(folder)
        for path in _TOKENIZER.glob("*token*"):
            shutil.copy(path, folder / path.name)
        return folder

    @cache  # noqa: B019
    def logits(self, folder: Path) -> Any:
        """Of some tokens, computed as a measurement does."""
        import torch

        from qpipe.hf.load import load

        ids = torch.tensor([[(11 * j) % 500 + 3 for j in range(64)]])
        with torch.inference_mode():
            return load(folder).model(input_ids=ids).logits.float()

    def outcome(self, number: int, case: dict[str, Any]) -> dict[str, Any]:
        """What becomes of one case."""
        engine = next(
            stage for stage in all_stages()["quantize"]
            if chosen(stage) == {"method": case["method"], "engine": case["engine"]}
        )  # fmt: skip
        source = self.model(case["model"], json.dumps(case.get("fields", {})))
        out = self.root / f"out-{number}"
        out.mkdir()
        inputs = {"model": source}
        try:
            params = engine.Params.model_validate_json(json.dumps(case["params"]))
            if "calibration" in engine.roles or getattr(params, "is_calibrated", False):
                inputs["calibration"] = self.root / "texts"
            work = Work(inputs, out, 2, lambda done, total, unit: None, {})
            engine.refuse(params, work)
        except (RecipeError, ValidationError) as error:
            return {"refused": str(error)}
        facts = to_facts(engine().run(params, work))
        if any(out.glob("*.gguf")):
            return {"made": facts["format"], "error": None}
        sizes = self.sizes(case, source, facts)
        found, wanted = self.logits(out), self.logits(source)
        spread = (wanted - wanted.mean(-1, keepdim=True)).norm()
        return {"made": facts["format"], "error": float((found - wanted).norm() / spread),
                "notes": facts["notes"], **sizes}  # fmt: skip

    def sizes(
        self, case: dict[str, Any], source: Path, facts: dict[str, Any]
    ) -> dict[str, list[int] | None]:
        """Bytes of tensors, of the file, and weights: as they are, and as predicted without them;
        None of a class that is not known there."""
        from qpipe import sizes
        from qpipe.errors import CheckpointError

        made = [facts["tensor_bytes"], facts["size_bytes"], facts["weights"]]
        asked = {"method": case["method"], "engine": case["engine"], **case["params"]}
        try:
            said = sizes.predict(source, asked)
        except CheckpointError:
            return {"sizes": made, "predicted": None}
        predicted = [said.tensor_bytes, said.file_bytes, said.weights]
        return {"sizes": made, "predicted": predicted}


def main(root: Path) -> None:
    """Run all cases."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    bench, results = Bench(root), []
    for number, case in enumerate(json.loads((root / "cases.json").read_bytes())):
        try:
            results.append(bench.outcome(number, case))
        except Exception as error:  # noqa: BLE001  what the table is to find
            traceback.print_exc()
            results.append({"failed": f"{type(error).__name__}: {error}"})
        (root / "results.json").write_text(json.dumps(results, indent=1))
        # Engines collect garbage several times a model: not each time through all of torch.
        gc.freeze()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
