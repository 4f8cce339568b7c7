"""Cards' contents by hand: rows with figures, and models that were never made."""

from __future__ import annotations

from pathlib import Path

from qpipe.core.manifest import FileEntry, Manifest
from qpipe.core.store import Artifact
from qpipe.export.card.content import CardContent
from qpipe.export.card.levels import Levels
from qpipe.export.card.tables import CardFile
from qpipe.export.licences import Licence
from qpipe.export.model import ExportedModel
from qpipe.export.publishing import Publishing
from qpipe.export.source_model import SourceModel
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation, Measurement, Subject
from qpipe.results.scores import Difference, Score, score

PROTOCOL = "llamacpp-512"


def row(name: str, size: int, *scores: Score, metric: str = "kld", **fields: object) -> ModelRow:
    """A row of this size, measured on a text."""
    measured = Measurement(PROTOCOL, scores, on=Subject(text="a.txt", tokens_scored=100))
    evaluations = (Evaluation("evaluate", metric, "ran", measured),) if scores else ()
    known = {"model": "tiny", "key": f"{len(name):064x}", "bits_per_weight": 4.5, **fields}
    return ModelRow(name, name, "ran", size_bytes=size, measurements=evaluations, **known)  # type: ignore[arg-type]


def kld(value: float, stderr: float = 0.001) -> Score:
    """A divergence."""
    return score("kld", value, stderr=stderr)


def ppl(value: float, delta: float, half: float) -> Score:
    """A perplexity beside the reference's."""
    return score("ppl", value, delta=Difference(delta, low=delta - half, high=delta + half))


def levels(*rows: ModelRow) -> Levels:
    """Rows, of which those that are no references are exported."""
    compared = Comparison.of(rows)
    return Levels.of(compared, [each for each in compared.rows if not each.reference])


def content(
    ranked: Levels,
    *,
    name: str = "tiny",
    source: SourceModel | None = None,
    publishing: Publishing | None = None,
) -> CardContent:
    """The content of a card of GGUF files of a model called ``name``."""
    if source is None:
        source = SourceModel("someone/tiny", "c" * 40, Licence("apache-2.0"), ("en",))
    models = [_model(each, name) for each in ranked.rows]
    files = {
        each.name: [CardFile(f"tiny-{each.format}.gguf", each.name, each.size_bytes or 0)]
        for each in ranked.rows
    }
    return CardContent(models, ranked, source, publishing or Publishing(), files)


def _model(of: ModelRow, name: str) -> ExportedModel:
    entry = FileEntry("model.gguf", of.size_bytes or 0, "0" * 64)
    manifest = Manifest(
        key=of.key or "", id="", name=f"quantize[{of.name}]", stage="quantize", version=1,
        params={"method": "gguf"}, engine={}, inputs={}, files=[entry], facts={},
        tools={"gguf": "0.19.0"},
    )  # fmt: skip
    renamed = ModelRow(of.name, of.format, of.status, model=name, key=of.key, notes=of.notes)
    return ExportedModel(renamed, Artifact(Path("/nowhere"), manifest), {})
