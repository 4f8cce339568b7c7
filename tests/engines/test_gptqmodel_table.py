"""Settings, shapes and architectures through GPTQModel: each is refused beforehand, or made, loaded
in a fresh process, and near the source. Nothing fails later.

GPTQModel 7.6 has torch compile the unpacking of each shape of matrix, which takes far longer than
all else: a few cases are measured so, the others without; in `make soak` all are.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli import environment
from tests.engines.gptqmodel_cases import Case, cases
from tests.engines.running import EAGER
from tests.engines.table import PHASES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]

ALL = {case["name"]: case for case in cases()}
TELLING = (
    "gptq-8-g16-sym1-act1", "gptq-4-g-1-sym1-act0", "gptq-4-g16-sym1-act0",
    "gptq-4-ffn36", "gptq-3-ffn36", "gptq-8-kv28",
    "gptq-4-g64-head-1005", "gptq-head-rule", "gptq-head-tied", "gptq-rule-channel",
    "gptq-no-pad-token", "gptq-qwen2_moe", "gptq-gemma3_text", "gptq-gpt_neox", "gptq-phi3",
    "awq-8-g32-zeros1", "awq-4-g-1-zeros1", "awq-skip-one", "awq-4-ffn40", "awq-4-ffn36",
    "awq-gemma2",
)  # fmt: skip
REFUSED = {"gptq-3-ffn36", "gptq-head-tied", "gptq-phi3", "awq-4-ffn36", "awq-gemma2"}
# By bits: how far logits of random models may be from the source's, in parts of them. The worst
# that is right takes four fifths of it; with 8 bits, scales that are not undone take 0.06 and more.
MOST = {8: 0.025, 4: 0.4, 3: 0.75, 2: 1.3}
COMPILED = {"gptq-4-g16-sym1-act0", "gptq-8-g16-sym1-act1", "awq-8-g32-zeros1"}


def outcomes(
    root: Path, some: Sequence[Case], *, compiled: Collection[str]
) -> dict[str, dict[str, Any]]:
    """By case: what all phases say of it; ``compiled`` are measured as users measure."""
    made: dict[str, dict[str, Any]] = {case["name"]: {} for case in some}
    eager = [case for case in some if case["name"] not in compiled]
    others = [case for case in some if case["name"] in compiled]
    run("make", root, some)
    run("quantize", root, some)
    run("measure", root, others)
    run("measure", root, eager, EAGER)
    for phase in PHASES:
        for name, result in json.loads((root / f"{phase}.json").read_bytes()).items():
            made[name] |= result
    return made


def run(phase: str, root: Path, some: Sequence[Case], env: Mapping[str, str] | None = None) -> None:
    """A phase: a process that ends where GPTQModel ends it is started again for the cases left."""
    (root / "cases.json").write_text(json.dumps(list(some)))
    for _ in some:
        done = subprocess.run(
            [sys.executable, "-m", "tests.engines.table", phase, str(root)],
            env=environment({"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(env or {})}),
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            break


def wrong(case: Case, found: dict[str, Any]) -> str | None:
    """Why a case is not as it should be: it failed, or its logits are far from the source's."""
    if "refused" in found:
        return None
    if "failed" in found:
        return str(found["failed"])
    bits = case["params"].get("bits", 4)
    return None if found["error"] < MOST[bits] else f"error {found['error']} in {bits} bits"


def test_some(tmp_path: Path) -> None:
    found = outcomes(tmp_path, [ALL[name] for name in TELLING], compiled=COMPILED)
    assert {name: why for name in TELLING if (why := wrong(ALL[name], found[name]))} == {}
    assert {name for name in TELLING if "refused" in found[name]} == REFUSED
    # The output matrix has what was asked for, and not GPTQModel's 8 bits in groups of 32.
    assert found["gptq-4-g64-head-1005"]["tensor_types"]["GPTQ-4bit-g64"] == 15
    assert found["gptq-head-rule"]["tensor_types"]["GPTQ-8bit-g32"] == 1


@pytest.mark.soak
def test_all(tmp_path: Path) -> None:
    found = outcomes(tmp_path, list(ALL.values()), compiled=ALL)
    assert {name: why for name, case in ALL.items() if (why := wrong(case, found[name]))} == {}
    assert sum("refused" in result for result in found.values()) < 0.4 * len(found)
