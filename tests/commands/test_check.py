"""`qpipe check`: what people see at 80 columns, exit codes, runs and reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.commands.check_text import described
from qpipe.gate.verdicts import EXIT_CODES
from qpipe.report.render import render
from qpipe.results.comparison import Comparison
from qpipe.results.record import rows
from tests.cli import Answer, called
from tests.commands.test_answers import wrong
from tests.gate.kept import Kept, compared
from tests.gate.test_verdicts import BASE, answers, moved, near


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    kept = Kept(tmp_path / "store")
    right, worse = answers(1000, 80, 10)
    levels: Any = {
        "Q8_0": (0.0002, 0.001, right),
        "Q4_K_M": (0.0125, 0.0199, right),
        "Q2_K": (0.08, 0.2, worse),
    }
    made = {
        name: [
            kept.ppl(name, moved(rise, seed=number)),
            kept.kld(name, near(kld, kld / 3, seed=number)),
            kept.tasks(name, {"acc[arc_easy]": items, "acc[hellaswag]": right}),
        ]
        for number, (name, (rise, kld, items)) in enumerate(levels.items())
    }
    first = kept.tasks("F16", {"acc[arc_easy]": right, "acc[hellaswag]": right})
    return compared([kept.ppl("F16", BASE), first], made)


@pytest.fixture
def run(comparison: Comparison, tmp_path: Path) -> Path:
    """A run's folder with run.json and a report in JSON."""
    folder = tmp_path / "outputs" / "runs" / "2026_x"
    folder.mkdir(parents=True)
    command = ["qpipe", "run", "x.yaml", "quantize.type=Q8_0,Q2_K", "evaluate=[perplexity]", "-m"]
    document = {"run": "2026_x", "status": "done", "command": command, "nodes": [],
                "rows": rows(comparison), "schema": 1}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(document))
    (folder / "report.json").write_text(render(comparison, "json", title="2026_x"))
    return tmp_path


def check(*words: str, cwd: Path) -> Answer:
    return called("check", *words, cwd=cwd)


ALL = ("--max-drop", "1pp", "--max-kld", "0.02", "--max-ppl", "1%")


def test_what_people_see(run: Path) -> None:
    answer = check("latest", *ALL, cwd=run)
    assert answer.code == 5 and answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["row", "score", "loss", "[90", "%]", "verdict"]
    assert lines[-1] == "regression (exit code 5)"
    shown = [line.split()[-1] for line in lines[1:16]]
    verdicts = [word for word in shown if word in EXIT_CODES]
    assert verdicts == ["accept"] * 4 + ["inconclusive"] * 2 + ["regression"] * 3
    below = [line.split() for line in lines[17:33]]
    assert below[0] == ["row", "score", "bound", "mde"] and below[1][:4] == [
        "Q8_0",
        "drop",
        "1",
        "pp",
    ]
    text = " ".join(answer.stdout.split())
    assert "Q4_K_M kld: inconclusive, about" in text and "more tokens would decide" in text
    assert "80 lost and 10 gained of 2,000 items; McNemar's p" in text
    assert "acc[arc_easy]" in text and "of 9 checks (Holm)" in text


def test_each_verdict_has_its_exit_code(run: Path) -> None:
    accepted = check("latest", *ALL, "--only", "Q8_0", cwd=run)
    assert (accepted.code, accepted.stdout.splitlines()[-1]) == (0, "accept (exit code 0)")
    assert check("2026_x", *ALL, "--only", "Q4_K_M", cwd=run).code == 6
    assert check("2026_x", *ALL, "--only", "Q8_0", "--only", "Q4_K_M", cwd=run).code == 6


def test_a_run_and_its_reports_say_the_same(run: Path) -> None:
    folder = "outputs/runs/2026_x"
    names = ("latest", "2026_x", folder, f"{folder}/run.json", f"{folder}/report.json")
    said = [check(name, *ALL, cwd=run) for name in names]
    assert len({(each.code, each.stdout) for each in said}) == 1
    (run / "compared.json").write_text(called("report", "latest", "--json", cwd=run).stdout)
    assert check("compared.json", *ALL, cwd=run) == said[0]


def test_json_has_everything(run: Path) -> None:
    document = json.loads(check("latest", *ALL, "--json", cwd=run).stdout)
    assert wrong(document, "check") == []
    assert (document["verdict"], document["exit_code"], document["reference"]) == (
        *("regression", 5, "F16"),
    )
    assert document["bounds"] == {"drop": 0.01, "kld": 0.02, "ppl": 0.01}
    drop, kld, ppl = document["rows"][1]["checks"]
    assert kld["verdict"] == ppl["verdict"] == "inconclusive" and kld["needed"] > 100
    assert drop["tasks"][0]["score"] == "acc[arc_easy]" and drop["p_mcnemar"] == 1.0
    assert kld["low"] < kld["value"] < kld["high"] and 0 < kld["mde"] < 0.01


def test_refusals_name_the_remedy(run: Path) -> None:
    assert check("latest", cwd=run).code == 2
    assert (
        "--max-kld 1pp: pp are percentage points"
        in check("latest", "--max-kld", "1pp", cwd=run).stderr
    )
    assert "did you mean '2026_x'" in check("2026x", *ALL, cwd=run).stderr
    (run / "other.json").write_text("{}")
    other = check("other.json", *ALL, cwd=run)
    assert other.code == 2 and "other.json: run is missing" in other.stderr


def test_what_was_not_measured_comes_with_the_run_s_own_command(run: Path) -> None:
    path = run / "outputs" / "runs" / "2026_x" / "run.json"
    document = json.loads(path.read_text())
    for row in document["rows"]:
        row["measurements"] = row["measurements"][:1]
    path.write_text(json.dumps(document))
    answer = check("latest", "--max-kld", "0.02", "--max-drop", "1pp", cwd=run)
    assert answer.code == 2
    told = "qpipe run x.yaml quantize.type=Q8_0,Q2_K evaluate=kld -m"
    assert f"to measure it: {told}\n" in answer.stderr
    assert "evaluate=tasks evaluate.tasks=TASK -m\n" in answer.stderr


def test_several_models_are_told_apart(comparison: Comparison) -> None:
    from dataclasses import replace

    from qpipe.session.check import check as decide

    others = [replace(row, model="other") for row in comparison.rows]
    both = Comparison.of([*comparison.rows, *others])
    shown = described(decide(both, max_kld=0.02, only=["Q8_0"])).splitlines()
    assert (shown[0], shown[4]) == ("m", "other") and shown[2].startswith("Q8_0")
    assert shown[1].split() == ["row", "score", "loss", "[90", "%]", "bound", "mde", "verdict"]
