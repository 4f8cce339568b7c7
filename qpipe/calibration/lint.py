"""lint: a look at the calibration text before anyone trusts what was made with it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from qpipe.calibration.text_params import RecordParams
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.stages import base
from qpipe.stages.evaluator import only_file, write_result
from qpipe.texts.records import holds_records
from qpipe.texts.whole import form, read_text

# Characters of a data set that are looked at, more than methods take; the version of doing so.
_MOST, _BEGINNING = 50_000_000, 1
# Shares of the words from which on a note is worth reading.
_NOTED = 0.01


class LintParams(RecordParams):
    """The two texts that are compared."""

    text: base.SourceFile = Field(description="The text that is calibrated with.")
    evaluation: base.SourceFile | None = Field(
        None,
        description="The text that is measured on. null: only the calibration text is looked at.",
    )


class Lint(base.Stage):
    """Notes about a calibration text. Nothing needs them, so they change no key."""

    kind = "lint"
    version = 1
    Params = LintParams

    @classmethod
    def fingerprint(cls, params: LintParams) -> Mapping[str, Json]:
        """The version of how records are read, where one of the texts is such."""
        own: dict[str, Json] = {"beginning": _BEGINNING} if holds_records(params.text) else {}
        return own if params.evaluation is None else {**own, **form(params.evaluation)}

    @classmethod
    def resources(cls, params: LintParams, *, cores: int) -> Resources:
        """A number for each run of words."""
        return Resources(cpus=1, memory=256 << 20, memory_per_input_byte=8.0)

    def run(self, params: LintParams, work: base.Work) -> Mapping[str, Json]:
        """Raises DataError for a text that cannot be read."""
        from qpipe.calibration.text import documents
        from qpipe.calibration.text.overlap import RUN, overlap

        text = only_file(work.inputs["text"])
        evaluation = only_file(work.inputs["evaluation"]) if params.evaluation else None
        records = documents.read(text, field=params.field)
        looked_at = documents.beginning(records, _MOST)
        shares = overlap(
            (document.plain for document in looked_at),
            None if evaluation is None else read_text(evaluation),
        )
        notes: list[Json] = []
        if next(records, None) is not None:
            notes.append(
                f"of the calibration text {text.name} the first {shares.words:,} words were looked "
                "at for copies and for the evaluation text"
            )
        if shares.repeated_share >= _NOTED:
            notes.append(
                f"{shares.repeated_share:.0%} of the calibration text {text.name} repeats what "
                f"came before (runs of {RUN} words): it weighs that twice; take the copies out"
            )
        if evaluation is not None and shares.shared_share >= _NOTED:
            notes.append(
                f"{shares.shared_share:.0%} of the calibration text {text.name} stands in the "
                f"evaluation text {evaluation.name} too (runs of {RUN} words): what is measured "
                "there flatters models that were fitted to it; calibrate with another text"
            )
        facts: dict[str, Json] = {
            "words": shares.words,
            "repeated": shares.repeated,
            "shared": shares.shared,
            "notes": notes,
        }
        write_result(work.out, facts)
        return facts
