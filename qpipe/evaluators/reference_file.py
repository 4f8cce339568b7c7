"""A reference file in the place of a reference: checked, and what was measured of it.

`qpipe.recipe.reference_source` wires these where ``run.reference`` names such a file.
"""

from __future__ import annotations

import abc
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.evaluators.common.parameters import ProtocolName
from qpipe.results.measurement import Measurement
from qpipe.results.model import ModelFacts
from qpipe.results.scores import score
from qpipe.stages import base
from qpipe.stages.evaluator import Evaluator, EvaluatorParams, only_file

if TYPE_CHECKING:
    from qpipe.evaluators.reference_files.header import FileHeader
    from qpipe.evaluators.text.windows import Tokenized

KIND = "reference"
NAME = f"of{base.REFERENCE_SUFFIX}"
"""What the file is called in artifacts."""


class ReferenceFileParams(base.Params):
    """A recipe's own words on the measuring: the file must have it, and it is in no key."""

    protocol: ProtocolName | None = Field(
        None, exclude=True, description="The protocol that it must be by. null: any."
    )
    n_ctx: int | None = Field(
        None, ge=3, exclude=True, description="Tokens of a window that it must have. null: any."
    )
    chunks: int | None = Field(
        None, ge=1, exclude=True, description="Windows that it must have at least. null: any."
    )
    top_k: int | None = Field(
        None, ge=1, exclude=True, description="How many tokens it must keep. null: any number."
    )


class ReferenceFile(base.Stage):
    """Checks every byte of a reference file, and stands for the model that it is of."""

    kind = KIND
    version = 1
    roles = ("model",)
    Params = ReferenceFileParams

    @classmethod
    def makes(cls, params: ReferenceFileParams) -> str:
        """Log-probabilities, and no model."""
        return base.REFERENCE

    @classmethod
    def resources(cls, params: ReferenceFileParams, *, cores: int) -> Resources:
        """All cores hash; little is kept in memory at once."""
        return Resources(cpus=cores, memory=512 << 20)

    @classmethod
    def refuse(cls, params: ReferenceFileParams, order: base.Order) -> None:
        """Raises DataError for a file that is none, RecipeError for one of other measuring."""
        if "model" in order.inputs:
            _require(params, header_in(order.inputs["model"]))

    def run(self, params: ReferenceFileParams, work: base.Work) -> ModelFacts:
        """Raises DataError for a file that is none, is damaged, or of another qpipe's protocol,
        RecipeError for one of other measuring."""
        from qpipe.evaluators.reference_files import reading, values

        header = header_in(work.inputs["model"])
        _require(params, header)
        reading.check(
            header,
            threads=work.threads,
            progress=lambda done, total: work.progress(done, total, "bytes"),
        )
        values.check(header)
        _take(header.path, work)
        return ModelFacts(**_facts(header, work))


def _take(file: Path, work: base.Work) -> None:
    """Make the file the artifact's own: a link to another file system would be to one that may
    go."""
    work.link(file, target := work.out / NAME)
    if target.is_symlink():
        target.unlink()
        shutil.copyfile(file, target)


def _require(params: ReferenceFileParams, header: FileHeader) -> None:
    from qpipe.evaluators.reference_files import matching

    wanted = matching.Wanted(params.protocol, params.n_ctx, params.chunks, params.top_k)
    matching.require(header.path.name, header.about, wanted)


def header_in(folder: Path) -> FileHeader:
    """Read the header of the one file in an artifact. Raises DataError for another kind of file."""
    from qpipe.evaluators.reference_files import header

    return header.read(only_file(folder, suffix=base.REFERENCE_SUFFIX))


def _facts(header: FileHeader, order: base.Order) -> dict[str, Any]:
    """The facts of the model that a file is of."""
    model = header.about.model
    return {
        "format": model.format,
        "size_bytes": model.size_bytes or 0,
        "weights": model.weights,
        "bits_per_weight": model.bits_per_weight,
        "architecture": model.architecture,
        "source": model.source,
        "more": {"imported": _imported(header)},
    }


def _imported(header: FileHeader) -> dict[str, Any]:
    """Facts of a reference that was computed elsewhere."""
    about = header.about
    measured = about.measured.model_dump(mode="json", exclude_none=True, exclude={"notes"})
    return {"model": about.model.name, "source": about.model.source, **measured}


class _ImportedParams(EvaluatorParams):
    backend: Literal["file"] = Field("file", description="A reference file, computed elsewhere.")


class ImportedLogprobsParams(_ImportedParams):
    """A reference file's distributions, as they are."""

    metric: Literal["logprobs"] = "logprobs"


class _Imported(Evaluator):
    """A measurement of the reference that its file holds."""

    version = 1
    roles: ClassVar[tuple[str, ...]] = ("model", "tokens")
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.REFERENCE,)}

    def run(self, params: Any, work: base.Work) -> Measurement:
        """Raises DataError for a file whose parts do not fit together."""
        from qpipe.evaluators.reference_files import reading
        from qpipe.evaluators.text.description import measurement, scores_of, write_measured
        from qpipe.evaluators.text.windows import load

        header, tokenized = header_in(work.inputs["model"]), load(work.inputs["tokens"])
        nll = reading.nll(header, tokenized.windows.scored)
        scores = [scores_of(tokenized, nll), *self.more_scores(header)]
        described = {**_described(header, tokenized), **self.fill(work, header, tokenized, nll)}
        write_measured(work.out, described, scores)
        return measurement(described, scores, 0.0, None)

    def more_scores(self, header: FileHeader) -> list[Any]:
        """Scores beside that of the text."""
        return []

    @abc.abstractmethod
    def fill(
        self, work: base.Work, header: FileHeader, tokenized: Tokenized, nll: Any
    ) -> dict[str, Json]:
        """Write what others read, and return what is to be said besides."""


class ImportedLogprobs(_Imported):
    """The distributions of a reference file: the file itself, and where in it each field is."""

    Params: ClassVar[base.ParamsModel] = ImportedLogprobsParams

    def more_scores(self, header: FileHeader) -> list[Any]:
        """The noise floor, which was measured where the reference was computed."""
        noise = header.about.measured.kld_noise
        return [] if noise is None else [score("kld_noise", noise)]

    def fill(
        self, work: base.Work, header: FileHeader, tokenized: Tokenized, nll: Any
    ) -> dict[str, Json]:
        """The files of `qpipe.evaluators.text.reference`."""
        import numpy as np

        from qpipe.evaluators.reference_files import reading
        from qpipe.evaluators.text.reference import NLL, write_columns

        work.link(header.path, work.out / NAME)
        write_columns(work.out, reading.columns(header, NAME))
        np.save(work.out / NLL, nll)
        stored, protocol = header.about.stored, tokenized.about.protocol
        label = protocol if stored.top_k is None else f"{protocol} top_k={stored.top_k}"
        return {"protocol": label, "n_vocab": stored.n_vocab, "top_k": stored.top_k}


class ImportedPerplexityParams(_ImportedParams):
    """A reference file's likelihoods of the text's own tokens, as they are."""

    metric: Literal["perplexity"] = "perplexity"


class ImportedPerplexity(_Imported):
    """The perplexity of a reference file, window by window."""

    Params: ClassVar[base.ParamsModel] = ImportedPerplexityParams

    def fill(
        self, work: base.Work, header: FileHeader, tokenized: Tokenized, nll: Any
    ) -> dict[str, Json]:
        """The sums that differences to other models are computed from."""
        from qpipe.evaluators.text.description import sums_of

        sums_of(tokenized, nll).write(work.out)
        return {}


def _described(header: FileHeader, tokenized: Tokenized) -> dict[str, Json]:
    """On what, under which protocol and by what; that it was elsewhere, a note says."""
    from qpipe.evaluators.text.description import about_text

    measured = header.about.measured
    notes = [_words(header), *measured.notes]
    described = about_text(tokenized, by=measured.backend, notes=notes)
    described["imported"] = _imported(header)
    if measured.arithmetic is not None:
        described["arithmetic"] = dict(measured.arithmetic)
    return described


def _words(header: FileHeader) -> str:
    """A sentence on where a reference comes from."""
    from qpipe.evaluators.reference_files.about import short_source

    about = header.about
    model, measured = about.model, about.measured
    machine = measured.machine
    parts = [
        f"by {measured.by}" if measured.by else None,
        f"on {measured.date}" if measured.date else None,
        f"by {measured.backend}",
        str(machine["processor"]) if machine.get("processor") else None,
        f"qpipe {measured.qpipe}" if measured.qpipe else None,
    ]
    source = f" ({short})" if (short := short_source(model.source)) else ""
    return (
        f"the reference is imported: {model.name} {model.format or ''}".rstrip()
        + f"{source}, computed {', '.join(filter(None, parts))}"
    )
