"""Comparisons of several models at several levels, as reports have them."""

from __future__ import annotations

import math
from dataclasses import replace
from hashlib import sha256
from typing import Any

from qpipe.report.runs import Summary
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.losses import TensorLoss
from qpipe.results.measurement import Bucket, Distribution, Evaluation, Measurement, Subject
from qpipe.results.scores import Difference, score
from qpipe.results.tensors import TensorDetail

# Level → bits per weight and divergence, as they fall out of real sweeps.
LEVELS = {
    "Q8_0": (8.5, 0.0004),
    "Q6_K": (6.6, 0.002),
    "Q5_K_M": (5.7, 0.006),
    "Q4_K_M": (4.9, 0.02),
    "Q4_0": (4.6, 0.05),
    "IQ4_XS": (4.3, 0.025),
    "Q3_K_M": (3.9, 0.09),
    "Q2_K": (3.2, 0.4),
}


def sweep(models: dict[str, int]) -> Comparison:
    """Each of ``models``, which have so many weights, unquantized and at every level."""
    rows = []
    for name, weights in models.items():
        rows.append(_row(name, weights, "F16", 16.0, None))
        rows += [_row(name, weights, fmt, bpw, kld) for fmt, (bpw, kld) in LEVELS.items()]
    return Comparison.of(rows)


def run_of(comparison: Comparison, *, layers: int = 4) -> Summary:
    """The run that made a sweep: its nodes, and the tensors of each quantized model of so many
    ``layers``."""
    nodes: list[dict[str, Any]] = []

    def node(name: str, stage: str, key: str | None = None, *sources: str) -> str:
        of = {str(number): source for number, source in enumerate(sources)}
        status = "cached" if stage in ("download", "convert") else "ran"
        about = {"status": status, "seconds": 2.0 + len(nodes), "params": {"of": name}}
        nodes.append({"name": name, "stage": stage, "key": key, "inputs": of, **about})
        return name

    text = node("text:wiki.txt", "download")
    for row in comparison.rows:
        name = f"[{row.model} {row.format}]"
        if row.reference:
            downloaded = node(f"download[{row.model}]", "download")
            made = reference = node(f"convert[{row.model}]", "convert", row.key, downloaded)
        else:
            made = node(f"quantize{name}", "quantize", row.key, downloaded)
        node(f"kld{name}", "evaluate", None, made, text, *{reference} - {made})
    tensors = {str(r.key): _tensors(r, layers) for r in comparison.rows if not r.reference}
    about = dict.fromkeys(("command", "started", "status", "machine", "tools", "lock"))
    about |= {"command": ["qpipe", "run", "demo"], "status": "done", "qpipe": "1", "python": "3"}
    measured = f"sensitivity[{next(iter(dict.fromkeys(row.model for row in comparison.rows)))}]"
    key = sha256(measured.encode()).hexdigest()
    node(measured, "sensitivity", key, made)
    losses = {key: _losses(layers)}
    return Summary(
        "first", nodes, comparison.rows, about, {k or "": of for k, of in tensors.items()}, losses
    )


def _losses(layers: int) -> tuple[TensorLoss, ...]:
    """What falls fourfold with each bit, and is most where a model begins and ends."""
    worth = {"attn_q": 1.0, "attn_v": 6.0, "attn_output": 2.0, "ffn_up": 4.0, "ffn_down": 9.0}

    def of(name: str, share: float) -> TensorLoss:
        bits = {"Q2_K": 2.6, "Q4_K": 4.5, "Q6_K": 6.6}
        return TensorLoss(name, {kind: share * 4.0**-b for kind, b in bits.items()})

    return (
        of("token_embd.weight", 3.0),
        *(
            of(f"blk.{layer}.{name}.weight", share * (1 + 2 * abs(2 * layer / layers - 1) ** 3))
            for layer in range(layers)
            for name, share in worth.items()
        ),
    )


def _tensors(row: ModelRow, layers: int) -> tuple[TensorDetail, ...]:
    kind, error = str(row.format).removesuffix("_M"), 0.5 ** (row.bits_per_weight or 1)
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    made = [TensorDetail("token_embd.weight", "Q6_K", (32000, 4096), 0.0174)]
    for layer in range(layers):
        made.append(TensorDetail(f"blk.{layer}.attn_norm.weight", "F32", (4096,)))
        for name in names:
            of = "Q6_K" if name == "ffn_down" and layer % 2 else kind
            made.append(TensorDetail(f"blk.{layer}.{name}.weight", of, (4096, 4096), error))
    return tuple(made)


def _row(model: str, weights: int, fmt: str, bpw: float, kld: float | None) -> ModelRow:
    ppl = 8.0 + (kld or 0.0) * 5
    delta = None if kld is None else Difference(ppl - 8.0, stderr=0.02 * (ppl - 8.0))
    scores = [score("ppl", ppl, stderr=0.1, delta=delta)]
    if kld is not None:
        scores.append(score("kld", kld, interval=(kld * 0.9, kld * 1.1)))
    measured = Measurement("llamacpp-512", tuple(scores), Subject(text="wiki.txt", tokens=5120))
    if kld is not None:
        of = {"median": 0.2, "p99": 10, "p99_9": 40, "max": 90}
        more = [score(f"kld_{name}", kld * times) for name, times in of.items()]
        edges = tuple(10.0**power for power in range(-6, 2))
        counts = tuple(int(5000 * 2.0 ** -abs(math.log10(kld) + 6 - n)) for n in range(9))
        sure = (Bucket(0, 0.5, 2000, kld * 1.5, 90.0), Bucket(0.5, 1, 3000, kld / 2, 99.0))
        spread = Distribution("kld", edges, counts, sure)
        measured = replace(measured, scores=(*scores, *more), distribution=spread)
    speed = Measurement("pp512 tg128", (score("pp", 900 / bpw), score("tg", 90 / bpw)))
    return ModelRow(
        name=fmt,
        format=fmt,
        status="ran",
        key=sha256(f"{model} {fmt}".encode()).hexdigest(),
        reference=kld is None,
        model=model,
        size_bytes=int(weights * bpw / 8),
        bits_per_weight=bpw,
        weights=weights,
        measurements=(
            Evaluation("kld", "kld", "ran", measured),
            Evaluation("speed", "speed", "ran", speed),
        ),
    )
