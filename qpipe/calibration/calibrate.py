"""calibrate: a text or data set → token ids, made once and shared by every engine and level.

The artifact holds calibration.json, ``{"samples": [[token id, …], …]}``, which a worker of any
environment reads with the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from qpipe.calibration.text.samples import CALIBRATION_FILE
from qpipe.calibration.text_params import TextParams
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.hf.modules import MODULES
from qpipe.stages import base
from qpipe.stages.evaluator import only_file
from qpipe.support import extras

if TYPE_CHECKING:
    from qpipe.calibration.text.samples import Samples


class CalibrateParams(TextParams):
    """Windows of a text as token ids.

    Documents are joined and cut into windows, each with BOS in front if the tokenizer adds one.
    """

    text: base.SourceFile = Field(
        description=(
            "What methods that look at activations are given: .txt, .md, .jsonl, .json or "
            ".parquet, also .gz, or hf:datasets/OWNER/NAME@COMMIT/FILE. `calibration=c4` chooses a "
            "known one (ultrachat for chat models, wikitext-2); tinystories, which comes with "
            "qpipe, is small, and of children's stories."
        )
    )
    samples: int = Field(128, ge=1, description="Windows that are taken from the text.")
    length: int = Field(512, ge=8, description="Tokens of a window.")
    seed: int = Field(
        0, ge=0, description="Chooses the windows, where the text has more than are taken."
    )


class Calibrate(base.Stage):
    """A stage that makes token ids of a text, by the tokenizer of the model in role ``model``."""

    kind = "calibrate"
    version = 2
    roles = ("model",)
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": base.DOCUMENTS}
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.CHECKPOINT,)}
    Params = CalibrateParams
    imports = MODULES

    @classmethod
    def fingerprint(cls, params: CalibrateParams) -> Mapping[str, Json]:
        """Versions of the packages that tokenize."""
        tools = {name: base.installed(name) for name in ("transformers", "tokenizers")}
        return {"name": "qpipe.calibrate", **tools}

    @classmethod
    def resources(cls, params: CalibrateParams, *, cores: int) -> Resources:
        """A text and its tokens in memory."""
        return Resources(cpus=1, memory=1 << 30)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if transformers is installed."""
        if base.installed("transformers") != "missing":
            return None
        return f"transformers is not installed: {extras.command('hf')}"

    def run(self, params: CalibrateParams, work: base.Work) -> Mapping[str, Json]:
        """Raises DataError for a text that cannot be read or is too short for one sample."""
        from qpipe.calibration.text import samples

        text = only_file(work.inputs["text"])
        calibration = samples.make(
            text,
            tokenizer=work.inputs["model"],
            field=params.field,
            chat_template=params.chat_template,
            date=params.date,
            samples=params.samples,
            length=params.length,
            seed=params.seed,
        )
        (work.out / CALIBRATION_FILE).write_text(json.dumps({"samples": calibration.samples}))
        return {**_facts(calibration, params), "text": text.name}


def _facts(samples: Samples, params: CalibrateParams) -> dict[str, Json]:
    tokens_asked = params.samples * params.length
    return {
        "samples": len(samples.samples),
        "samples_asked": params.samples,
        "tokens": samples.tokens,
        "tokens_asked": tokens_asked,
        "tokens_in_text": samples.available,
        "documents": samples.documents,
        "notes": _notes(samples, params, tokens_asked),
    }


def _notes(samples: Samples, params: CalibrateParams, tokens_asked: int) -> list[Json]:
    notes: list[Json] = [] if samples.note is None else [samples.note]
    if samples.tokens < tokens_asked:
        notes.append(
            f"the text gave {samples.tokens} of the {tokens_asked} tokens asked for: give a "
            f"longer one, or set calibration.samples to {len(samples.samples)} or less"
        )
    if samples.context is not None and params.length > samples.context:
        notes.append(
            f"samples of {params.length} tokens exceed the {samples.context} that the model was "
            f"trained for: set calibration.length={samples.context}"
        )
    return notes
