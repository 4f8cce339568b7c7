from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qpipe.core.digests import Digests, stamp
from qpipe.report.rows import comparison
from qpipe.session.run_models import linked
from tests.report.plans import carry_out, demo, gguf, job, node, plan


def test_each_model_has_a_name_that_says_what_it_is(tmp_path: Path) -> None:
    planned = demo()
    result = carry_out(planned, tmp_path / "store")
    compared = comparison(planned, result)
    rows = [replace(row, model="小 model/7B") for row in compared.rows]
    digests = Digests(tmp_path / "store" / "hashes")
    known = {row.artifact: digests.of(one(row.artifact)) for row in rows}
    made, problems = linked(
        replace(compared, rows=tuple(rows)), result.outcomes, tmp_path / "run", digests
    )
    assert not problems
    names = [Path(row.link or "").name for row in made.rows]
    assert names == [f"小_model_7B-{level}.gguf" for level in ("F16", "Q8_0", "Q4_0")]
    rows = [replace(row, model="m-f16") for row in compared.rows]
    of_f16, problems = linked(
        replace(compared, rows=tuple(rows)), result.outcomes, tmp_path / "other", digests
    )
    names = [Path(row.link or "").name for row in of_f16.rows]
    assert not problems and names == ["m-f16.gguf", "m-f16-Q8_0.gguf", "m-f16-Q4_0.gguf"]
    for row in made.rows:
        file = one(row.artifact)
        assert Path(row.link or "").samefile(file)
        assert digests.lookup(stamp(file.stat())) == known[row.artifact], "it is not read again"


def one(folder: str | None) -> Path:
    """The only file of an artifact, besides its manifest."""
    (file,) = (path for path in Path(folder or "").iterdir() if path.name != "manifest.json")
    return file


def test_names_say_a_format_once_and_whose_an_importance_matrix_is(tmp_path: Path) -> None:
    reference = gguf("F16", size=2, bpw=16.0)
    level = gguf("Q4_0", size=1, bpw=4.5, source=reference)
    matrices = [
        replace(node(f"imatrix {n}", "imatrix", {}, inputs={"model": reference}), made_for=model)
        for n, model in enumerate(("a", "b", "b"))
    ]
    stages = {f"imatrix{n}": matrix for n, matrix in enumerate(matrices)}
    planned = plan(job("Q4_0 seed=0", {"convert": reference, "quantize": level, **stages}))
    result = carry_out(planned, tmp_path / "store")
    made, _ = linked(
        comparison(planned, result),
        result.outcomes,
        tmp_path / "run",
        Digests(tmp_path / "store" / "hashes"),
    )
    names = {path.name for path in (tmp_path / "run" / "models").iterdir()}
    assert names == {
        "model-Q4_0_seed=0.gguf",
        *("a-imatrix.gguf", "b-imatrix-1.gguf", "b-imatrix-2.gguf"),
    }
    assert [Path(row.link or "").name for row in made.rows] == ["model-Q4_0_seed=0.gguf"]


def test_two_models_of_one_name(tmp_path: Path) -> None:
    planned = demo()
    result = carry_out(planned, tmp_path / "store")
    compared = comparison(planned, result)
    rows = tuple(replace(row, name="x", format="x") for row in compared.rows)
    made, _ = linked(
        replace(compared, rows=rows),
        result.outcomes,
        tmp_path / "run",
        Digests(tmp_path / "store" / "hashes"),
    )
    assert len({row.link for row in made.rows}) == 3
