"""The lock file beside a recipe: what is in it is a commit for each source, or it is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from qpipe.errors import RecipeError
from qpipe.recipe import lock_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "r.yaml").write_text("model: {}\n")
    return tmp_path / "r.yaml"


def test_what_is_written_is_read(recipe: Path) -> None:
    assert lock_file.read(str(recipe)) == {}
    path = lock_file.write(str(recipe), {"model:a/b@main": COMMIT})
    assert path == recipe.with_name("r.lock.json")
    lock_file.write(str(recipe), {"dataset:c/d@v1": COMMIT})
    assert lock_file.read(str(recipe)) == {"dataset:c/d@v1": COMMIT, "model:a/b@main": COMMIT}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not usable as JSON"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("[]", "no lock file that qpipe wrote"),
        ('{"sources": []}', "no lock file that qpipe wrote"),
        (
            '{"sources": {"model:a/b@main": null}}',
            r"sources\['model:a/b@main'\] is None, no commit",
        ),
        ('{"sources": {"a": "../../refs/x"}}', r"is '../../refs/x', no commit"),
        (json.dumps({"sources": {"a": COMMIT.upper()}}), "no commit"),
        (f'{{"sources": {{"a": "{COMMIT}", "a": "{COMMIT}"}}}}', "the key 'a' appears twice"),
    ],
)
def test_what_is_none_is_refused(recipe: Path, text: str, words: str) -> None:
    recipe.with_name("r.lock.json").write_text(text)
    with pytest.raises(RecipeError, match=rf"r.lock.json: .*{words}.*; remove it and run `qpipe"):
        lock_file.read(str(recipe))


def test_a_pipe_is_not_waited_for(recipe: Path) -> None:
    os.mkfifo(recipe.with_name("r.lock.json"))
    with pytest.raises(RecipeError, match="it is a pipe, not a file"):
        lock_file.read(str(recipe))
