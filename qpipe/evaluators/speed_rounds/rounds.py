"""Models measured in turn, each in a probe's process or by llama-bench, and the statistics."""

from __future__ import annotations

import abc
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from qpipe.errors import (
    DataError,
    EngineMissingError,
    QpipeError,
    WorkerCrashError,
    from_record,
)
from qpipe.evaluators.speed_rounds.settings import Memory, Sample, SpeedSettings
from qpipe.machine import program, tools
from qpipe.machine.usage import peak_rss_of

FIELDS = tuple(field.name for field in fields(Sample))
BENCH = "llama-bench"
# Seconds between two looks at how much memory llama-bench has taken.
_LOOK_EVERY = 0.02


class SpeedTarget(abc.ABC):
    """A model to be measured. ``version`` names what computes, ``arithmetic`` in what it does, as
    `qpipe.results.arithmetic` reads it."""

    version: str
    arithmetic: Mapping[str, str] | None = None

    @abc.abstractmethod
    def measure(self) -> Sample:
        """One round. Raises what the model raises."""

    @abc.abstractmethod
    def finish(self) -> Memory:
        """The memory that was taken; nothing is measured after it."""

    @abc.abstractmethod
    def close(self) -> None:
        """End what runs, however it went."""


class Probe(SpeedTarget):
    """A model in a process of its own; raises what opening the model raises."""

    def __init__(self, model: Path, settings: SpeedSettings, *, backend: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "qpipe.evaluators.speed_rounds.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        asked = {"backend": backend, "model": str(model), "settings": asdict(settings)}
        try:
            answer = self._ask(json.dumps(asked))
            self.version, self.arithmetic = str(answer["version"]), answer["arithmetic"]
        except QpipeError:
            self.close()
            raise

    def measure(self) -> Sample:
        """One round."""
        return Sample(**self._ask("go"))

    def finish(self) -> Memory:
        """The process's own peak."""
        return Memory(**self._ask("end"))

    def _ask(self, line: str) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        try:
            stdin.write(line + "\n")
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise WorkerCrashError(
                f"the process that held the model ended with code {self._process.wait()}; if "
                "memory ran out, two models were in it at once: use a machine with more"
            )
        record: dict[str, Any] = json.loads(answer)
        if "error" in record:
            raise from_record(record["error"])
        return record

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class LlamaBench(SpeedTarget):
    """A GGUF file by the llama-bench on PATH, which loads it anew in each round.

    ``options`` are more of its own. Raises EngineMissingError if there is none.
    """

    def __init__(
        self, model: Path, settings: SpeedSettings, *, options: Sequence[str | int] = ()
    ) -> None:
        bench = tools.find(BENCH)
        if bench.path is None:
            raise EngineMissingError(f"{bench.problem}, or set evaluate.tool to in-process")
        self.version = BENCH
        self._rss: int | None = None
        self._command: list[str | Path | int] = [
            bench.path, "-m", model, "-p", settings.n_prompt, "-n", settings.n_gen, "-r", 1,
            "-t", settings.threads, "-ctk", settings.type_k, "-ctv", settings.type_v,
            "-fa", settings.flash_attention, *options, "-o", "jsonl",
        ]  # fmt: skip

    def measure(self) -> Sample:
        """One run of its two tests, each after a warm-up of its own."""
        lines: list[str] = []
        program.run(self._command, name=BENCH, on_line=lines.append, on_start=self._watch)
        tests = [json.loads(line) for line in lines if line.startswith("{")]
        if len(tests) != 2:
            raise DataError(f"{BENCH} gave {len(tests)} results for two tests: {''.join(lines)}")
        reading, writing = sorted(tests, key=lambda test: test["n_gen"])
        self.version = f"{BENCH} {reading['build_number']} ({reading['build_commit']})"
        return Sample(pp=reading["avg_ts"], tg=writing["avg_ts"], ttft=reading["avg_ns"] / 1e9)

    def _watch(self, pid: int) -> None:
        threading.Thread(target=self._follow, args=(pid,), daemon=True).start()

    def _follow(self, pid: int) -> None:
        wait = threading.Event()
        while (rss := peak_rss_of(pid)) is not None:
            self._rss = max(self._rss or 0, rss)
            wait.wait(_LOOK_EVERY)

    def finish(self) -> Memory:
        """The most that was seen."""
        return Memory(rss=self._rss, vram=None)

    def close(self) -> None:
        """Nothing is left running."""


@dataclass(frozen=True)
class Figure:
    """``median`` and interquartile range (``iqr``) of one figure over the rounds."""

    median: float
    iqr: float


def take_turns(
    subjects: Sequence[SpeedTarget],
    *,
    warmup: int,
    repeats: int,
    progress: Callable[[int, int], None],
) -> list[list[Sample]]:
    """The samples of each subject. In each round all are measured, in turn first and last.

    A machine that slows down or is disturbed so slows all of them, and their ratios stand.
    """
    samples: list[list[Sample]] = [[] for _ in subjects]
    for number in range(warmup + repeats):
        order = range(len(subjects))
        for index in order if number % 2 == 0 else reversed(order):
            sample = subjects[index].measure()
            if number >= warmup:
                samples[index].append(sample)
        progress(number + 1, warmup + repeats)
    return samples


def figure(samples: Sequence[Sample], name: str) -> Figure:
    """Median and IQR of a field of samples; quartiles as in `statistics.quantiles`, inclusive."""
    values = [getattr(sample, name) for sample in samples]
    if len(values) == 1:
        return Figure(values[0], 0.0)
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Figure(middle, high - low)


def ratio(samples: Sequence[Sample], reference: Sequence[Sample], name: str) -> float:
    """The median over rounds of one's value by the other's in the same round."""
    pairs = zip(samples, reference, strict=True)
    return float(median(getattr(one, name) / getattr(other, name) for one, other in pairs))
