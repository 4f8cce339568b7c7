from __future__ import annotations

import json
from pathlib import Path

from qpipe.report.rows import comparison
from qpipe.report.run_record import document
from tests.report.plans import (
    carry_out,
    demo,
    gguf,
    job,
    node,
    perplexity,
    plan,
    records,
    rows_by_name,
    text,
)


def test_one_row_a_model_the_reference_first(tmp_path: Path) -> None:
    planned = demo()
    made = records(planned, carry_out(planned, tmp_path))

    assert [row["name"] for row in made] == ["F16", "Q8_0", "Q4_0"]
    assert [row["reference"] for row in made] == [True, False, False]
    assert [row["size_bytes"] for row in made] == [2000, 1000, 500]
    assert [row["bits_per_weight"] for row in made] == [16.0, 8.5, 4.5]
    assert [row["ppl"] for row in made] == [10.0, 10.5, 12.0]
    assert [row["ppl_delta"] for row in made] == [None, 0.5, 2.0]
    assert [row["ppl_stderr"] for row in made] == [0.25] * 3
    assert {row["protocol"] for row in made} == {"llamacpp-512"}
    assert {row["status"] for row in made} == {"ran"}
    assert made[1]["overrides"] == ["quantize.type=Q8_0"]
    assert made[1]["seconds"] == 2.0
    assert Path(made[1]["file"]).read_text() == "model Q8_0"
    assert len({tuple(row) for row in made}) == 1, "every row has the same fields in one order"


def test_the_same_bytes_are_one_row_and_measured_once(tmp_path: Path) -> None:
    planned = demo()
    made = records(planned, carry_out(planned, tmp_path))

    # convert and quantize[F16] wrote the same file; both were evaluated, under one key.
    assert len(planned.graph) == 9
    assert len(made[0]["measurements"]) == 1
    assert made[0]["evaluate_seconds"] == 2.0


def test_a_second_run_is_cached(tmp_path: Path) -> None:
    planned = demo()
    carry_out(planned, tmp_path)
    made = records(planned, carry_out(planned, tmp_path))
    assert [row["status"] for row in made] == ["cached"] * 3


def test_two_protocols_are_never_one_column(tmp_path: Path) -> None:
    reference, on = gguf("F16", size=2, bpw=16.0), text()
    small = gguf("Q8_0", size=1, bpw=8.5, source=reference)
    planned = plan(
        job(
            "",
            {
                "convert": reference,
                "quantize": small,
                "text": on,
                "wide": perplexity(small, 8.0, on),
                "wide_reference": perplexity(reference, 7.0, on),
                "narrow": perplexity(small, 9.5, on, protocol="llamacpp-512 n_ctx=256"),
            },
            reference=reference,
        )
    )
    made = rows_by_name(records(planned, carry_out(planned, tmp_path)))

    assert "ppl" not in made["Q8_0"]
    assert made["Q8_0"]["ppl[llamacpp-512]"] == 8.0
    assert made["Q8_0"]["ppl[llamacpp-512 n_ctx=256]"] == 9.5
    assert made["Q8_0"]["ppl_delta[llamacpp-512]"] == 1.0
    # The reference was not measured under it: no difference can be given.
    assert made["Q8_0"]["ppl_delta[llamacpp-512 n_ctx=256]"] is None
    assert made["F16"]["ppl[llamacpp-512 n_ctx=256]"] is None
    assert made["Q8_0"]["protocol"] == "llamacpp-512; llamacpp-512 n_ctx=256"


def test_two_texts_are_never_one_column(tmp_path: Path) -> None:
    model, one, other = gguf("F16", size=2, bpw=16.0), text("one"), text("other")
    planned = plan(
        job(
            "",
            {
                "convert": model,
                "one": one,
                "other": other,
                "first": perplexity(model, 8.0, one),
                "second": perplexity(model, 9.0, other),
            },
            reference=model,
        )
    )
    (row,) = records(planned, carry_out(planned, tmp_path))
    assert row["ppl[llamacpp-512, one.txt]"] == 8.0
    assert row["ppl[llamacpp-512, other.txt]"] == 9.0


TORCH = "transformers 5 (torch 2)"


def test_one_model_by_two_backends_has_two_columns(tmp_path: Path) -> None:
    f16, on = gguf("F16", size=2000, bpw=16.0), text()
    q4 = gguf("Q4_0", size=500, bpw=4.5, source=f16)
    jobs = [
        job(
            backend,
            {
                "text": on,
                "convert": f16,
                "quantize": q4,
                "perplexity": perplexity(q4, ppl, on, backend=backend),
                "perplexity_reference": perplexity(f16, reference, on, backend=backend),
            },
            reference=f16,
        )
        for backend, ppl, reference in (("llama.cpp 1", 12.0, 10.0), (TORCH, 12.5, 11.0))
    ]
    planned = plan(*jobs)
    first, row = records(planned, carry_out(planned, tmp_path))
    assert (first["ppl[llama.cpp]"], first["ppl[transformers]"]) == (10.0, 11.0)
    assert (row["ppl[llama.cpp]"], row["ppl[transformers]"]) == (12.0, 12.5)
    # Each against the reference as its own backend has it.
    assert (row["ppl_delta[llama.cpp]"], row["ppl_delta[transformers]"]) == (2.0, 1.5)
    assert "ppl" not in row


def test_two_models_by_a_backend_each_share_a_column(tmp_path: Path) -> None:
    f16, on = gguf("F16", size=2000, bpw=16.0), text()
    gptq = node("gptq", "quantize", {"format": "GPTQ", "size_bytes": 600}, inputs={"model": f16})
    stages = {
        "text": on,
        "convert": f16,
        "quantize": gptq,
        "perplexity": perplexity(gptq, 12.0, on, backend=TORCH),
        "perplexity_reference": perplexity(f16, 10.0, on),
    }
    planned = plan(job("", stages, reference=f16))
    made = records(planned, carry_out(planned, tmp_path))
    assert [row["ppl"] for row in made] == [10.0, 12.0]
    assert [row["ppl_delta"] for row in made] == [None, 2.0]


def test_a_failure_and_what_it_skips(tmp_path: Path) -> None:
    reference, on = gguf("F16", size=2, bpw=16.0), text()
    bad = gguf("Q4_0", size=1, bpw=4.5, source=reference, fails="tensor a holds NaN")
    stages = {"convert": reference, "quantize": bad, "text": on}
    planned = plan(job("", {**stages, "ppl": perplexity(bad, 1.0, on)}, reference=reference))
    result = carry_out(planned, tmp_path)
    made = records(planned, result)

    assert made[0]["status"] == "ran"
    assert made[1]["name"] == made[1]["format"] == "Q4_0"
    assert made[1]["status"] == "failed"
    assert made[1]["error"] == "quantize[Q4_0]: tensor a holds NaN"
    assert made[1]["key"] is made[1]["artifact"] is made[1]["file"] is None

    summary = document("r", result.status, planned, result.outcomes, comparison(planned, result))
    assert summary["status"] == "failed"
    by_status = {n["status"]: n for n in summary["nodes"]}
    assert by_status["failed"]["error"]["type"] == "StageError"
    assert by_status["skipped"]["blocked_by"] == "quantize[Q4_0]"
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_a_failed_reference_skips_its_models(tmp_path: Path) -> None:
    reference = gguf("F16", size=2, bpw=16.0, fails="no such architecture")
    small = gguf("Q4_0", size=1, bpw=4.5, source=reference)
    planned = plan(job("Q4_0", {"convert": reference, "quantize": small}, reference=reference))
    made = records(planned, carry_out(planned, tmp_path))
    assert [row["status"] for row in made] == ["failed", "skipped"]
    assert made[1]["error"] == "because of convert"
    assert made[0]["format"] == "F16"


def test_a_job_without_quantization_compares_what_it_evaluates(tmp_path: Path) -> None:
    model, on = gguf("F16", size=2, bpw=16.0), text()
    planned = plan(job("", {"convert": model, "text": on, "ppl": perplexity(model, 8.0, on)}))
    (row,) = records(planned, carry_out(planned, tmp_path))
    assert row["name"] == "F16"
    assert row["ppl"] == 8.0
    assert row["ppl_delta"] is None


def test_each_reference_is_followed_by_its_own(tmp_path: Path) -> None:
    jobs = []
    for label in ("a", "b"):
        reference = node(
            f"convert[{label}]", "convert", {"format": "F16"}, content=f"F16 of {label}"
        )
        small = node(
            f"quantize[{label}]",
            "quantize",
            {"format": "Q8_0"},
            inputs={"model": reference},
            content=f"Q8_0 of {label}",
        )
        jobs.append(job(label, {"convert": reference, "quantize": small}, reference=reference))
    planned = plan(*jobs)
    made = records(planned, carry_out(planned, tmp_path))
    assert [(row["name"], row["reference"]) for row in made] == [
        ("F16 a", True),
        ("a", False),
        ("F16 b", True),
        ("b", False),
    ]
