from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.errors import RecipeError
from qpipe.recipe.overrides import label, varying
from qpipe.recipe.request import find_recipe, recipe_names, shipped_recipes


def test_shipped_recipes_are_found_by_name() -> None:
    assert {"demo", "local", "qwen2.5-0.5b-instruct", "qwen2.5-7b-instruct"} <= set(recipe_names())
    assert "config" not in recipe_names()
    for name in recipe_names():
        assert find_recipe(name) == shipped_recipes() / f"{name}.yaml"


def test_a_path_is_found_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "demo.yaml").touch()
    assert find_recipe("mine.yaml") == find_recipe("./mine.yaml") == tmp_path / "mine.yaml"
    # A name alone is a shipped recipe, whatever lies here.
    assert find_recipe("demo") == shipped_recipes() / "demo.yaml"
    assert find_recipe("demo.yaml") == tmp_path / "demo.yaml"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("demoo", "did you mean 'demo'"),
        ("xyzzy", "known: demo, "),
        ("config", "no recipe 'config'"),
        ("", "no recipe ''"),
        ("mine", "file in this folder write mine.yaml"),
        ("mien.yaml", "did you mean 'mine.yaml'"),
        ("nowhere/mine.yaml", "no folder nowhere"),
        ("folder.yaml", "a folder"),
        ("mine.yml", "rename"),
    ],
)
def test_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(RecipeError) as caught:
        find_recipe(recipe)
    assert words in str(caught.value)


def test_labels() -> None:
    def made(*jobs: list[str], fixed: tuple[str, ...] = (), whole: bool = True) -> list[str]:
        return [*map(label, varying(jobs, fixed=fixed, whole=whole))]

    assert made(["q.type=A", "s=x"], ["q.type=B", "s=x"]) == ["A", "B"]
    assert made(["q.type=A", "q.via=f"], ["q.type=B", "q.via=g"]) == [
        "A via=f",
        "B via=g",
    ]
    assert made(["q.type=A", "e.type=1"], ["q.type=B", "e.type=2"]) == [
        "q.type=A e.type=1",
        "q.type=B e.type=2",
    ]
    assert made(["+v.n=[1,2]"], ["+v.n=a=b"]) == ["n=[1,2]", "n=a=b"]
    assert made(["c.seed=0"], ["c.seed=1"]) == ["seed=0", "seed=1"]
    assert made(["c.seed=null"], ["c.seed=null_1"]) == ["seed=null", "seed=null_1"]
    assert made(["q.sym=true"], ["q.sym=false"]) == ["sym=true", "sym=false"]
    assert made(["m.source=故事"], ["m.source=b"]) == ["source=故事", "source=b"]
    assert made(["q.lr=1e-3"], ["q.lr=2e-3"]) == ["lr=1e-3", "lr=2e-3"]
    assert made(["q.via=f16"], ["q.via=source"]) == ["via=f16", "via=source"]
    assert made(["quantize=gptq"], ["quantize=awq"]) == ["gptq", "awq"]
    assert made(["e.text=/a/x.txt"], ["e.text='/b/y z.txt'"]) == ["text=x.txt", "text=y z.txt"]
    assert made(["e.text=/a/x"], ["e.text=/b/x"]) == ["text=/a/x", "text=/b/x"]
    assert made(["e.text=builtin\\:a"], ["e.text=b"]) == ["text=builtin:a", "text=b"]
    assert made(["v.x=" + "a" * 99], ["v.x=b"]) == [f"x={'a' * 23}…", "x=b"]
    assert made(["~v.x"], []) == ["x", ""]
    assert made(["q=A"]) == [""]
    # A sweeper that asks for few at a time: what it searches over, though they agree.
    assert made(["q=A", "s=x"], ["q=A", "s=x"], fixed=("s",), whole=False) == ["q=A", "q=A"]
    assert made([], [], whole=False) == ["", ""]
