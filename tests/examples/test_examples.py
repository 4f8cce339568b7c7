"""The examples run as a user would run them; packages are installed beside qpipe first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli import Answer, environment, qpipe

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("examples")]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def script(path: Path, *arguments: str, cwd: Path, packages: Path | None = None) -> Answer:
    folders = ":".join(map(str, [ROOT, *([packages] if packages else [])]))
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=cwd,
        env={**environment(), "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both packages, built and installed by pip into a folder of their own."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("own_engine", "own_evaluator"):
        source = shutil.copytree(EXAMPLES / name, folder / "sources" / name)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--no-build-isolation", "--no-deps", "--no-index", "--target",
             str(folder / "installed"), str(source)],
            check=True,
            capture_output=True,
        )  # fmt: skip
    return folder / "installed"


def test_each_is_told_of() -> None:
    told = set(re.findall(r"^\| `([\w/.]+)", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    there = {f"{path.name}/" if path.is_dir() else path.name for path in EXAMPLES.iterdir()}
    assert told == there - {"README.md", "__pycache__/"}
    assert len(told) == 7


def test_a_sweep_to_a_data_frame(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    answer = script(EXAMPLES / "sweep_to_dataframe.py", cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    assert [line.split()[1] for line in answer.stdout.splitlines()[1:5]] == [
        *("F16", "Q8_0", "Q4_K_M", "Q4_0"),
    ]
    best = answer.stdout.splitlines()[-1].split(", ")
    assert best[0].startswith("least perplexity times size: Q4") and Path(best[1]).is_file()


def test_one_file(tmp_path: Path) -> None:
    answer = script(EXAMPLES / "quantize_one_file.py", cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    size = (tmp_path / "model-Q4_K_M.gguf").stat().st_size
    assert answer.stdout.startswith(f"model-Q4_K_M.gguf: {size:,} bytes, 4.955 bits per weight")
    wrong = script(
        EXAMPLES / "quantize_one_file.py", "builtin:tinystories-d256", "x", "Q4", cwd=tmp_path
    )
    assert wrong.code == 1 and "Traceback" not in wrong.stderr and "Q4" in wrong.stderr


def test_two_files(tmp_path: Path) -> None:
    answer = script(EXAMPLES / "compare_two_files.py", cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    loss = re.search(r"the second has \+([\d.]+) % perplexity", answer.stdout)
    assert loss is not None and 5 < float(loss[1]) < 12


def test_a_gate(tmp_path: Path) -> None:
    passed = script(EXAMPLES / "ci_gate.py", "2%", "Q8_0", cwd=tmp_path)
    assert (passed.code, "accept (surely less" in passed.stdout) == (0, True), passed.stderr
    failed = script(EXAMPLES / "ci_gate.py", "1%", "Q2_K", cwd=tmp_path)
    assert (failed.code, "regression (surely more" in failed.stdout) == (5, True), failed.stderr
    assert script(EXAMPLES / "ci_gate.py", "1%", "IQ1_S", cwd=tmp_path).code == 2
    assert script(EXAMPLES / "ci_gate.py", "0.01", "Q8_0", cwd=tmp_path).code == 2


def test_a_workflow(tmp_path: Path) -> None:
    """The steps that call qpipe run as they stand, in a shell as GitHub starts it."""
    workflow = yaml.safe_load((EXAMPLES / "ci" / "quantize-gate.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["gate"]
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "qpipe"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qpipe "$@"\n')
    command.chmod(0o755)
    env = environment({**job["env"], "PATH": f"{command.parent}:{os.environ['PATH']}"})
    steps = [step["run"] for step in job["steps"] if "qpipe " in step.get("run", "")]
    assert len(steps) == 3
    for step in steps:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{step}\n{done.stderr}"
    assert done.stdout.endswith("accept (exit code 0)\n")
    assert (tmp_path / "summary.md").read_text().startswith("# ")


def test_an_engine_of_ones_own(tmp_path: Path, packages: Path) -> None:
    answer = script(EXAMPLES / "own_engine" / "run.py", cwd=tmp_path, packages=packages)
    assert answer.code == 0, answer.stderr
    rows = [line.split() for line in answer.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        *(["F16", "F16"], ["inner=Q4_0", "Q8_0/Q4_0"], ["inner=Q2_K", "Q8_0/Q2_K"]),
    ]
    assert rows[0][2] > rows[1][2] > rows[2][2]  # bytes
    assert float(rows[0][-1]) < float(rows[2][-1])
    path = f"{ROOT}:{packages}"
    listed = qpipe("engines", cwd=tmp_path, env={"PYTHONPATH": path})
    assert "method=sandwich" in listed.stdout


def test_an_evaluator_of_ones_own(tmp_path: Path, packages: Path) -> None:
    answer = script(EXAMPLES / "own_evaluator" / "run.py", cwd=tmp_path, packages=packages)
    assert answer.code == 0, answer.stderr
    rows = [line.split() for line in answer.stdout.splitlines()]
    assert [row[0] for row in rows] == ["Q8_0", "Q4_K_M", "Q2_K"]
    assert 0 < float(rows[0][3]) < 1 < float(rows[1][3]) < float(rows[2][3]) < 50
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert "weight_error" in (run / "report.md").read_text()
