"""What Python code may rely on: the names of `qpipe`, their signatures, and a light import."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import qpipe

SIGNATURES = {
    "advise": "(model: str | Path, *, gpu: str | None = None, ram: str | None = None, runtime: str "
    "| None = None, ctx: int | str | None = None, batch: int | str | None = None, min_quality: str "
    "| None = None, min_speed: str | float | None = None, offline_cpu: bool = False, prefer: str | "
    "None = None, store: str | Path | None = None) -> Advice",
    "attest": "(*files: str | Path, source: str | Path, imatrix: str | Path | None = None, store: "
    "str | Path | None = None, threads: int | None = None, progress: Progress | None = None) -> "
    "Attestation",
    "check": "(run: str | Path | Comparison = 'latest', *, max_drop: str | None = None, max_kld: "
    "str | float | None = None, max_ppl: str | None = None, equivalent: bool = False, only: "
    "Sequence[str] = (), score: str | None = None, runs: str | Path | None = None) -> GateVerdict",
    "convert": "(model: str | Path, out: str | Path, *, outtype: str = 'f16', name: str | None = "
    "None, threads: int | None = None, progress: Progress | None = None) -> Path",
    "estimate": "(model: str | Path, types: Sequence[str] = (), *, ctx: int | str | None = None, "
    "batch: int | str = 1, kv: str | None = None, kv_k: str | None = None, kv_v: str | None = "
    "None, runtime: str = 'llama.cpp', gpu: str | Sequence[str] = (), ram: str | None = None, "
    "flash_attention: bool = True) -> ModelEstimate",
    "inspect": "(path: str | Path, *, store: str | Path | None = None) -> dict[str, Any]",
    "load": "(recipe: str | Path, *overrides: str, sweep: bool = False, store: str | Path | None = "
    "None, runs: str | Path | None = None) -> Session",
    "open_run": "(run: str | Path = 'latest', *, runs: str | Path | None = None) -> Comparison",
    "perplexity": "(model: str | Path, text: str | Path, *, protocol: str = 'llamacpp-512', n_ctx: "
    "int | None = None, chunks: int | None = None, threads: int | None = None, device: str = "
    "'auto', progress: Progress | None = None) -> Measurement",
    "quantize": "(model: str | Path, out: str | Path, type: str, *, imatrix: str | Path | None = "
    "None, tensor_types: Mapping[str, str] | None = None, via: str = 'f16', allow_requantize: "
    "bool = False, threads: int | None = None, progress: Progress | None = None) -> Path",
    "repro": "(table: str | Path | Sequence[str | Path], rows: str | None = None, only: "
    "Kind | None = None, plan: bool = False, *, on_event: Emit | None = None, store: str | Path "
    "| None = None, runs: str | Path | None = None) -> Reproduction",
    "Session.plan": "(self, *, keep_going: bool = False, again: Sequence[str] = ()) -> RunPlan",
    "Session.run": "(self, on_event: Emit | None = None, *, keep_going: bool = False, pin: bool = "
    "False, again: Sequence[str] = ()) -> Comparison",
    "Store": "(path: str | Path | None = None) -> None",
    "Store.get": "(self, key: str) -> Artifact",
    "Store.verify": "(self, key: str | None = None, *, on_key: Callable[[str, int, int], None] | "
    "None = None) -> list[Damage]",
    "Store.collect": "(self, *, max_size: str | None = None, max_age: str | None = None, "
    "model: str | None = None, stage: str | None = None, run: str | None = None, "
    "runs: str | Path = 'outputs/runs', dry_run: bool = False) -> Collection",
    "Comparison.to_pandas": "(self) -> pandas.DataFrame",
}
VALUES = {
    "Comparison",
    "QpipeError",
    "Reproduction",
    "RunPlan",
    "Session",
    "Store",
    "errors",
    "__version__",
}


def test_the_public_names() -> None:
    functions = {name.partition(".")[0] for name in SIGNATURES}
    assert set(dir(qpipe)) == set(qpipe.__all__) == functions | VALUES
    for name in qpipe.__all__:
        assert getattr(qpipe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        _ = qpipe.quantise  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    value: object = qpipe
    for part in name.split("."):
        value = getattr(value, part)
    assert callable(value)
    shown = str(inspect.signature(value)).replace('"', "'")
    assert re.sub(r"(: |-> )'([^']*)'", r"\1\2", shown) == SIGNATURES[name]
    assert inspect.getdoc(value)


# What values have; they may have more.
FIELDS = {
    "Session": "recipe overrides sweep store runs",
    "RunPlan": "nodes left_out notes counts errors",
    "Comparison": "rows scores",
    "Store": "path",
}
FIELDS_OF_PARTS = {
    "qpipe.session.forecasts:PlannedNode": "name stage id state why key artifact preview error",
    "qpipe.session.forecasts:LeftOut": "name error",
    "qpipe.results:ModelRow": "name model format reference status size_bytes bits_per_weight path "
    "error scores",
    "qpipe.results:Score": "name value stderr interval unit better delta",
    "qpipe.advice.answer:Advice": "rows notes levers",
    "qpipe.advice.ranking:RankedRow": "candidate quality also overruled",
    "qpipe.session.estimating.estimate:ModelEstimate": "rows left_out notes context",
    "qpipe.session.estimating.estimate:EstimatedFormat": "format runtime size memory fit speed "
    "notes",
    "qpipe.gate.verdicts:GateVerdict": "verdict exit_code rows bounds reference",
    "qpipe.gate.verdicts:RowVerdict": "name model verdict checks",
    "qpipe.gate.verdicts:LossVerdict": "evidence bound verdict why needed p_regression p_accept",
    "qpipe.results:Measurement": "protocol scores on by notes",
}


@pytest.mark.parametrize("name", [*FIELDS, *FIELDS_OF_PARTS])
def test_what_values_have(name: str) -> None:
    module, _, last = name.rpartition(":")
    value = getattr(importlib.import_module(module) if module else qpipe, last)
    known = {*dir(value), *getattr(value, "__dataclass_fields__", ())}
    if name == "Store":
        known |= vars(value()).keys()
    assert set((FIELDS | FIELDS_OF_PARTS)[name].split()) <= known


def test_type_checkers_are_told_of_the_same_names() -> None:
    stub = ast.parse((Path(qpipe.__file__).with_suffix(".pyi")).read_text())
    told = {
        alias.asname: item.module
        for item in stub.body
        if isinstance(item, ast.ImportFrom)
        for alias in item.names
    }
    assert told.pop("errors") == "qpipe"
    assert told == qpipe._PUBLIC  # type: ignore[attr-defined]


# Module → what may be imported with it, of the project and of what is slow to import.
BOUNDS = {
    "import qpipe": {"qpipe"},
    "import qpipe; qpipe.QpipeError": {"qpipe", "qpipe.errors"},
}
HEAVY = {"numpy", "gguf", "xllamacpp", "pydantic", "hydra", "omegaconf", "rich", "torch", "pandas"}


def imported(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    modules: list[str] = json.loads(done.stdout)
    return set(modules)


@pytest.mark.parametrize("code", BOUNDS)
def test_importing_is_light(code: str) -> None:
    ours = {name for name in imported(code) if name.partition(".")[0] == "qpipe"}
    assert ours == BOUNDS[code]


def test_naming_everything_imports_nothing_heavy() -> None:
    heavy = HEAVY & imported("import qpipe\nfor name in dir(qpipe): getattr(qpipe, name)")
    assert not heavy
