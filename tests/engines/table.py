"""`python -m tests.engines.table make|quantize|measure FOLDER`: one phase of many small jobs.

GPTQModel patches transformers, so each phase is a process of its own, and a case goes through all
of them: ``make`` writes random models by transformers, ``quantize`` does what the stage does,
``measure`` loads what came out in a process that has done nothing else. FOLDER has cases.json;
each phase writes PHASE.json: by the case's name, what happened.
"""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qpipe.errors import QpipeError, RecipeError
from qpipe.results.facts import to_facts

Case = Mapping[str, Any]
"""``model``: a type of transformers and the fields of its config that differ; ``method``: gptq or
awq; ``params``: what is asked; ``tokens``: of a calibration sample."""

_TOKENIZER = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
_SIZES = {
    "vocab_size": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
    "max_position_embeddings": 128, "tie_word_embeddings": False,
}  # fmt: skip
_SAMPLES, _LENGTH = 4, 48


def folder_of(root: Path, case: Case) -> Path:
    """Where a case's model is; those with the same config share one."""
    text = json.dumps(case["model"], sort_keys=True).encode()
    return root / "models" / hashlib.sha256(text).hexdigest()[:16]


def make(root: Path, case: Case) -> dict[str, Any]:
    """Write the model of a case, if it is not there yet."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = folder_of(root, case)
    if folder.exists():
        return {}
    given = {**_SIZES, **case["model"]}
    beyond = given.pop("pad_token_beyond", False)
    if given.pop("no_head_dim", False):
        del given["head_dim"]
    torch.manual_seed(0)
    config = AutoConfig.for_model(given.pop("type"), **given)
    from_config: Any = AutoModelForCausalLM.from_config
    model = from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    for path in _TOKENIZER.glob("*token*"):
        shutil.copy(path, folder / path.name)
    if beyond:
        _pad_beyond(folder, given["vocab_size"])
    return {}


def _pad_beyond(folder: Path, token: int) -> None:
    """Give the tokenizer a pad token that the embeddings have no row for."""
    path = folder / "tokenizer.json"
    fields = json.loads(path.read_bytes())
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    added = {"id": token, "content": "<|pad|>", "special": True, **dict.fromkeys(flags, False)}
    path.write_text(json.dumps({**fields, "added_tokens": [*fields["added_tokens"], added]}))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "pad_token": "<|pad|>"}))


def quantize(root: Path, case: Case) -> dict[str, Any]:
    """What the stage does: refuse, or quantize, check and finish."""
    from qpipe.engines import gptqmodel
    from qpipe.stages.base import Work

    engine = {"gptq": gptqmodel.GptqmodelGptq, "awq": gptqmodel.GptqmodelAwq}[case["method"]]
    params = engine.Params.model_validate_json(json.dumps(case["params"]))
    out, texts = root / "made" / case["name"], root / "texts" / case["name"]
    for path in (out, texts):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    samples = [[(7 * i + 3 * j * j) % 1000 + 3 for j in range(_LENGTH)] for i in range(_SAMPLES)]
    (texts / "calibration.json").write_text(json.dumps({"samples": samples}))
    work = Work(
        {"model": folder_of(root, case), "calibration": texts}, out, 1,
        lambda done, total, unit: None, {}, partial=root / "partial" / case["name"],
    )  # fmt: skip
    engine.refuse(params, work)
    return to_facts(engine().run(params, work))


def measure(root: Path, case: Case) -> dict[str, Any]:
    """Load it as a measurement does; how far its logits are from the source's, in parts of them."""
    import torch

    from qpipe.hf.load import load

    made = root / "made" / case["name"]
    ids = torch.tensor([[(11 * j) % 1000 + 3 for j in range(32)]])
    logits = []
    for folder in (made, folder_of(root, case)):
        with torch.inference_mode():
            logits.append(load(folder).model(input_ids=ids).logits.float())
    found, wanted = logits
    return {"error": float((found - wanted).norm() / wanted.norm())}


PHASES: Mapping[str, Callable[[Path, Case], dict[str, Any]]] = {
    "make": make, "quantize": quantize, "measure": measure,
}  # fmt: skip


def main(phase: str, root: Path) -> None:
    """Run one phase of all cases that have no result yet; the last one begun, if GPTQModel ended
    the process, has failed."""
    path, begun = root / f"{phase}.json", root / f"{phase}.begun"
    results: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    if begun.exists():
        results[begun.read_text()] = {"failed": "the process ended"}
    for case in json.loads((root / "cases.json").read_bytes()):
        if case["name"] in results or _ended(root, phase, case["name"]):
            continue
        begun.write_text(case["name"])
        results[case["name"]] = _outcome(phase, root, case)
        path.write_text(json.dumps(results, indent=1))
        # GPTQModel 7.6 collects garbage several times a model: not again through all of torch.
        if gc.get_freeze_count() == 0:
            gc.freeze()
    begun.unlink(missing_ok=True)
    path.write_text(json.dumps(results, indent=1))


def _ended(root: Path, phase: str, name: str) -> bool:
    """Whether an earlier phase refused the case, or failed."""
    found: dict[str, Any] = {}
    for before in list(PHASES)[: list(PHASES).index(phase)]:
        found |= json.loads((root / f"{before}.json").read_bytes())[name]
    return bool(found.keys() & {"refused", "failed"})


def _outcome(phase: str, root: Path, case: Case) -> dict[str, Any]:
    try:
        return PHASES[phase](root, case)
    except RecipeError as error:
        return {"refused": str(error)}
    except QpipeError as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    except Exception as error:  # noqa: BLE001  what is not ours is what a table looks for
        traceback.print_exc()
        return {"failed": f"unexpected {type(error).__name__}: {error}"}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
