"""The engines' own scripts, as their READMEs have them: what qpipe is measured against.

`python -m bench.engine_script NAME CHECKPOINT CALIBRATION OUT` prints the most memory it had, in
bytes. Nothing of qpipe takes part but that reading.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from qpipe.machine.usage import peak_rss

THREADS = os.cpu_count() or 1


def gptqmodel(source: str, samples: list[dict[str, Any]], out: str) -> None:
    os.environ["GPTQMODEL_CPU_WORKERS"] = str(max(2, THREADS))
    from gptqmodel import GPTQModel, QuantizeConfig

    config = QuantizeConfig(bits=4, group_size=128, desc_act=False)
    model = GPTQModel.load(source, config)
    model.quantize(samples, batch_size=8)
    model.save(out)


def llmcompressor(source: str, samples: list[dict[str, Any]], out: str) -> None:
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    oneshot(
        model=model,
        recipe=GPTQModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"], actorder=None),
        dataset=Dataset.from_list(samples),
        max_seq_length=len(samples[0]["input_ids"]),
        num_calibration_samples=len(samples),
        batch_size=8,
    )
    model.save_pretrained(out, save_compressed=True)


def bitsandbytes(source: str, samples: list[dict[str, Any]], out: str) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config: Any = BitsAndBytesConfig
    model = AutoModelForCausalLM.from_pretrained(
        source,
        quantization_config=config(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
        device_map="cpu",
    )
    model.save_pretrained(out)


SCRIPTS = {"gptqmodel": gptqmodel, "llmcompressor": llmcompressor, "bitsandbytes": bitsandbytes}


def main(name: str, source: str, calibration: str, out: str) -> None:
    """Quantize to four bits."""
    tokens = json.loads(Path(calibration).read_bytes())["samples"]
    samples = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in tokens]
    SCRIPTS[name](source, samples, out)
    print(peak_rss())


if __name__ == "__main__":
    main(*sys.argv[1:])
