"""Rows whose windows and items lie in a store, as measurements leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from qpipe.report.reference_difference import compared_with
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.fields import scores
from qpipe.results.measurement import Evaluation, Measurement, Subject
from qpipe.results.sampling import Sampling
from qpipe.results.windows import WindowSums

PER_WINDOW = 100


@dataclass(frozen=True)
class Kept:
    """A store in a folder, which makes measurements under one ``protocol`` on one ``text``."""

    store: Path
    protocol: str = "llamacpp-512"
    text: str = "text"

    def ppl(self, name: str, nll: Sequence[float], *, unit: str = "token") -> Evaluation:
        """A perplexity from the nll a token of windows of 100 tokens."""
        counts = [PER_WINDOW] * len(nll)
        sums = [PER_WINDOW * each for each in nll]
        kept = WindowSums(sums, counts, unit, sum(counts))
        folder = self._folder(f"ppl {name}")
        kept.write(folder)
        score = {"token": "ppl", "word": "word_ppl", "byte": "bits_per_byte"}[unit]
        return self._evaluation(folder, "perplexity", {score: kept.score}, tokens=sum(counts))

    def kld(
        self, name: str, windows: Sequence[float], *, most: float = 0.0, stderr: float = 1e-4,
        sampled: bool = False, **more: float,
    ) -> Evaluation:  # fmt: skip
        """KL divergence of windows of 100 tokens, at most so much more where that is unknown."""
        folder = self._folder(f"kld {name}")
        least = PER_WINDOW * np.array(windows)
        np.save(folder / "sums.npy", np.array([least, least + PER_WINDOW * most]).T)
        mean = float(np.nanmean(windows))
        taken = int((~np.isnan(least)).sum())
        values = {"kld": mean, "kld_stderr": stderr, **more}
        if most:
            values["kld_at_most"] = mean + most
        sampling = Sampling("some were enough", (0.9 * mean, 1.1 * mean)) if sampled else None
        return self._evaluation(folder, "kld", values, tokens=taken * PER_WINDOW, sampling=sampling)

    def tasks(self, name: str, right: Mapping[str, Sequence[float]], **more: Any) -> Evaluation:
        """Scores of tasks from their items; a name is ``acc[task]``."""
        folder = self._folder(f"tasks {name}")
        records, lines, values = {}, [], {}
        for field, items in right.items():
            metric, _, where = field.rstrip("]").partition("[")
            task, _, by = where.partition(" ")
            records[field] = {"metric": metric, "filter": by or "none", "weights": {task: 1.0}}
            values[field] = sum(items) / len(items)
            lines += [
                {"task": task, "filter": by or "none", "doc_id": n, "doc_hash": f"{n}",
                 "prompt_hash": "", "scores": {metric: float(item)}}
                for n, item in enumerate(items)
            ]  # fmt: skip
        merged: dict[Any, Any] = {}
        for line in lines:
            at = line["task"], line["filter"], line["doc_id"]
            merged.setdefault(at, line)["scores"] |= line["scores"]
        (folder / "result.json").write_text(json.dumps({"scores": records}))
        text = "".join(json.dumps(line) + "\n" for line in merged.values())
        (folder / "items.jsonl").write_text(text)
        count = len({(task, number) for task, _, number in merged})
        return self._evaluation(folder, "tasks", values | more, items=count)

    def _folder(self, name: str) -> Path:
        key = sha256(f"{self.store} {self.protocol} {self.text} {name}".encode()).hexdigest()
        folder = self.store / "artifacts" / key[:2] / key
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"key": key, "inputs": {}}))
        return folder

    def _evaluation(
        self, folder: Path, metric: str, values: Mapping[str, float], *, tokens: int | None = None,
        items: int | None = None, sampling: Sampling | None = None,
    ) -> Evaluation:  # fmt: skip
        digest = None if tokens is None else self.text
        on = Subject(self.text, tokens, tokens, digest, items)
        measured = Measurement(self.protocol, scores(values), on, "llama.cpp 1", sampling)
        return Evaluation(metric, metric, "ran", measured, folder.name, str(folder))


def compared(
    reference: Sequence[Evaluation], rows: Mapping[str, Sequence[Evaluation]], **more: Any
) -> Comparison:
    """The rows beside F16, with their differences; ``more`` are the overrides of rows by name."""
    first = ModelRow("F16", "F16", "ran", reference=True, model="m", measurements=(*reference,))
    others = [
        ModelRow(
            name, name, "ran", model="m", key=sha256(name.encode()).hexdigest(),
            overrides=tuple(more.get(name, ())),
            measurements=tuple(compared_with(each, reference) for each in measured),
        )
        for name, measured in rows.items()
    ]  # fmt: skip
    return Comparison.of([first, *others])
