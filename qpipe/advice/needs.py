"""What is asked for: a runtime, context, requests at once, floors of quality and speed, a goal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from qpipe.advice.rulebook import Goal, Runtime
from qpipe.errors import UsageError, nearest
from qpipe.runtimes.contexts import USUAL_CONTEXT, count

RUNTIMES: tuple[str, ...] = get_args(Runtime)
GOALS: tuple[str, ...] = get_args(Goal)

Metric = Literal["kld", "ppl", "accuracy"]
METRICS: tuple[Metric, ...] = get_args(Metric)

_FLOOR = re.compile(r"(kld|ppl|accuracy)\s*=\s*(\d+(?:\.\d+)?)\s*(%?)", re.IGNORECASE)
_SPEED = re.compile(r"(\d+(?:\.\d+)?)\s*(?:t/s|tok/s|tokens/s)?", re.IGNORECASE)
_ONLY_GPU = ("vllm", "exllama")


@dataclass(frozen=True)
class QualityFloor:
    """The most that may be lost: ``kld`` in nats, ``ppl`` as a share of its rise (0.01 is 1 %), or
    the least share of ``accuracy`` that is kept. ``text`` is what was asked."""

    metric: Metric
    bound: float
    text: str

    def admits(self, value: float) -> bool:
        """True for a figure of the metric that is good enough."""
        return value >= self.bound if self.metric == "accuracy" else value <= self.bound


@dataclass(frozen=True)
class Needs:
    """The work that a model is to do. ``batch`` are requests at once, ``speed`` the least
    tokens a second of one request; ``cpu_alone``: no GPU takes part, and no
    network once the model is made."""

    runtime: str | None = None
    context: int = USUAL_CONTEXT
    batch: int = 1
    quality: QualityFloor | None = None
    speed: float | None = None
    cpu_alone: bool = False
    goal: str = "balanced"

    @classmethod
    def of(
        cls,
        *,
        runtime: str | None = None,
        context: Any = None,
        batch: Any = None,
        min_quality: str | None = None,
        min_speed: str | float | None = None,
        offline_cpu: bool = False,
        prefer: str | None = None,
        gpu: str | None = None,
    ) -> Needs:
        """Read what a user gave. Raises UsageError for what means nothing, and for two options that
        contradict each other, with both."""
        if runtime is not None and runtime not in RUNTIMES:
            raise UsageError(f"--runtime {runtime}: not known; {nearest(runtime, RUNTIMES)}")
        if prefer is not None and prefer not in GOALS:
            raise UsageError(f"--prefer {prefer}: not known; {nearest(prefer, GOALS)}")
        _agree(runtime, offline_cpu=offline_cpu, gpu=gpu, prefer=prefer, quality=min_quality)
        return cls(
            runtime,
            USUAL_CONTEXT if context is None else count(context, "--ctx"),
            1 if batch is None else count(batch, "--batch"),
            None if min_quality is None else _floor(min_quality),
            None if min_speed is None else _speed(str(min_speed)),
            offline_cpu,
            prefer or "balanced",
        )


def _agree(
    runtime: str | None,
    *,
    offline_cpu: bool,
    gpu: str | None,
    prefer: str | None,
    quality: str | None,
) -> None:
    """Raise UsageError for options that cannot both be."""
    named_gpu = gpu is not None and gpu.strip().lower() != "none"
    if offline_cpu and named_gpu:
        raise UsageError(
            f"--offline-cpu and --gpu {gpu} contradict each other: the first computes on the CPU "
            "alone; leave one of them out"
        )
    if runtime in _ONLY_GPU and (offline_cpu or (gpu is not None and not named_gpu)):
        other = "--offline-cpu" if offline_cpu else f"--gpu {gpu}"
        raise UsageError(
            f"--runtime {runtime} and {other} contradict each other: {runtime} is advised on for "
            "GPUs alone; without one take --runtime llama.cpp or ollama"
        )
    if prefer == "size" and quality is None:
        return
    if prefer == "size" and quality is not None and _floor(quality).bound == 0:
        raise UsageError(
            f"--prefer size and --min-quality {quality} contradict each other: nothing smaller "
            "than the model itself loses nothing"
        )


def _floor(text: str) -> QualityFloor:
    match = _FLOOR.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"--min-quality {text}: this is no bound; write kld=0.02 (nats), ppl=1% (its rise) or "
            "accuracy=99% (what is kept of it)"
        )
    metric: Metric = next(each for each in METRICS if each == match[1].lower())
    number = float(match[2])
    if metric == "kld":
        if match[3]:
            raise UsageError(f"--min-quality {text}: a KL divergence is in nats, as kld=0.02")
        return QualityFloor(metric, number, text)
    if not match[3]:
        raise UsageError(f"--min-quality {text}: {metric} is in percent, as {metric}={number:g}%")
    if metric == "accuracy" and number > 100:
        raise UsageError(f"--min-quality {text}: more than all of it cannot be kept")
    return QualityFloor(metric, number / 100, text)


def _speed(text: str) -> float:
    match = _SPEED.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"--min-speed {text}: write tokens a second, as 10 or 10t/s")
    return float(match[1])
