"""`quantize.fallback`, and levels that are one file under several names: plan, run and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli import by_stage, called
from tests.gguf import samples

pytestmark = pytest.mark.slow

MODEL = f"model.source={samples.MODELS['stories260K']}"
RECIPE = ("local", MODEL, "evaluate=none", "executor=inline")
SWEEP = ("-m", "quantize.type=IQ2_M,IQ3_XXS,IQ4_XS,Q4_0")
SAME = "IQ2_M, IQ3_XXS and IQ4_XS: the same tensors, byte for byte; "
SHORT = ": 0 of 36 matrices are"


def document(*arguments: str, cwd: Path, code: int = 0) -> dict[str, Any]:
    answer = called(*arguments, "--json", cwd=cwd)
    assert answer.code == code, answer
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose store all levels are."""
    folder = tmp_path_factory.mktemp("swept")
    document("run", *RECIPE, *SWEEP, cwd=folder)
    return folder


def test_one_file_under_three_names_is_marked(tmp_path: Path) -> None:
    planned = document("plan", *RECIPE, *SWEEP, cwd=tmp_path)
    same = [f"quantize[stories260K {level}]" for level in ("IQ2_M", "IQ3_XXS", "IQ4_XS")]
    assert planned["same_tensors"] == [same]
    made = document("run", *RECIPE, *SWEEP, cwd=tmp_path)
    rows = {row["name"]: row for row in made["rows"]}
    marked = [name for name, row in rows.items() if any(SAME in note for note in row["notes"])]
    assert marked == ["IQ2_M", "IQ3_XXS", "IQ4_XS"]
    tensors = {name: samples.rows_of(Path(row["file"])) for name, row in rows.items()}
    assert tensors["IQ2_M"] == tensors["IQ3_XXS"] == tensors["IQ4_XS"] != tensors["Q4_0"]
    assert document("plan", *RECIPE, *SWEEP, cwd=tmp_path)["same_tensors"] == [same]
    report = called("report", "latest", cwd=tmp_path).stdout
    assert report.count(SAME) == 1
    assert report.count(f"note: IQ2_M{SHORT} IQ2 (") == 1


def test_notes_name_the_model_where_they_are_not_about_all(tmp_path: Path) -> None:
    both = ",".join(str(samples.MODELS[name]) for name in ("stories260K", "stories-tok105"))
    sweep = ("local", "evaluate=none", "-m", f"model.source={both}", "quantize.type=IQ2_M,IQ4_XS")
    said = called("run", *sweep, cwd=tmp_path).stdout
    assert f"\nnote: stories260K: IQ2_M{SHORT} IQ2 (30 are IQ4_NL, 5 F16" in said
    assert f"\nnote: stories-tok105: IQ2_M{SHORT} IQ2 (35 are IQ4_NL" in said
    assert said.count("\nnote: IQ2_M and IQ4_XS: the same tensors, byte for byte; ") == 1


def test_another_importance_matrix_or_rounding_is_another_file(swept: Path) -> None:
    sweep = ("-m", "quantize.type=IQ4_XS", "quantize.via=f16,source")
    assert "same_tensors" not in document("plan", *RECIPE, *sweep, cwd=swept)


def test_allow_says_nothing_and_makes_nothing_anew(swept: Path) -> None:
    made = document("run", *RECIPE, "quantize.fallback=allow", *SWEEP, cwd=swept)
    assert {node["status"] for node in made["nodes"]} == {"cached"}
    assert not [note for row in made["rows"] for note in row["notes"] if SHORT in note]
    again = document("run", *RECIPE, *SWEEP, cwd=swept)
    assert len([n for row in again["rows"] for n in row["notes"] if SHORT in n]) == 3


def test_a_file_made_with_allow_is_noted_for_who_wants_to_know(tmp_path: Path) -> None:
    allow = (*RECIPE, "quantize.fallback=allow", "quantize.type=IQ4_XS")
    assert SHORT not in called("plan", *allow, cwd=tmp_path).stdout
    assert not document("run", *allow, cwd=tmp_path)["rows"][0]["notes"]
    warned = document("run", *RECIPE, "quantize.type=IQ4_XS", cwd=tmp_path)
    assert {node["status"] for node in warned["nodes"]} == {"cached"}
    assert SHORT in warned["rows"][0]["notes"][0]


@pytest.mark.parametrize("made_before", [False, True])
def test_refuse_stops_before_anything_runs(made_before: bool, swept: Path, tmp_path: Path) -> None:
    """Also where the store has the file, which was made under another setting."""
    folder = swept if made_before else tmp_path
    wish = (*RECIPE, "quantize.fallback=refuse", "quantize.type=IQ4_XS")
    planned = document("plan", *wish, cwd=folder, code=2)
    (error,) = (node["error"] for node in planned["nodes"] if "error" in node)
    assert error.startswith("quantize.fallback is refuse, and 35 of 36 matrices cannot be of the ")
    made = document("run", *wish, cwd=folder, code=2)
    assert "ran" not in {n["status"] for n in made["nodes"] if n["stage"] == "quantize"}
    assert error in [n["error"]["message"] for n in made["nodes"] if "error" in n]


def test_what_the_refusal_advises_is_made(tmp_path: Path) -> None:
    wish = ("quantize.fallback=refuse", "quantize.type=IQ4_XS")
    rules = "quantize.tensor_types={blk: Q4_0, ffn_down: F16}"
    (row,) = document("run", *RECIPE, *wish, rules, cwd=tmp_path)["rows"]
    assert (row["status"], row["notes"]) == ("ran", [])


def test_refuse_does_not_wait_for_an_importance_matrix(tmp_path: Path) -> None:
    """Nor measures one first: rows are as long with it as without."""
    text = samples.ROOT / "tests" / "data" / "texts" / "tinystories_train_head_ascii.txt"
    made = (
        f"+stages.imatrix={{uses: imatrix, needs: {{model: convert}}, with: {{text: {text}}}}}",
        "+stages.quantize.needs.imatrix=imatrix",
    )
    wish = ("quantize.fallback=refuse", "quantize.type=IQ2_M")
    planned = document("plan", *RECIPE, *wish, *made, cwd=tmp_path, code=2)
    errors = {s: n["error"] for s, n in by_stage(planned["nodes"]).items() if "error" in n}
    assert list(errors) == ["quantize"]
    assert "35 of 36 matrices cannot be of the types that IQ2_M has" in errors["quantize"]
