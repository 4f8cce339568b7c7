"""The example of a prompt in a card: a checkpoint's own template, wherever it keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact
from qpipe.export.model import ExportedModel
from qpipe.export.prompt import explained
from qpipe.results.comparison import ModelRow

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
PROMPT = "<s>[system] {system}\n[user] {prompt}\n[assistant]"
BOS = {"bos_token": {"content": "<s>"}}
NAMED = [{"name": "tools", "template": "no"}, {"name": "default", "template": TEMPLATE}]


def model(folder: Path) -> ExportedModel:
    manifest = Manifest(
        key="a" * 64, id="", name="quantize", stage="quantize", version=1,
        params={}, engine={}, inputs={}, files=[], facts={},
    )  # fmt: skip
    return ExportedModel(ModelRow("gptq", "gptq", "ran"), Artifact(folder, manifest), {})


@pytest.mark.parametrize("place", ["jinja", "named", "settings"])
def test_templates_are_read(place: str, tmp_path: Path) -> None:
    settings: dict[str, object] = {**BOS}
    if place == "jinja":
        (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    else:
        settings["chat_template"] = NAMED if place == "named" else TEMPLATE
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert explained(model(tmp_path)) == (PROMPT, None)


def test_a_model_without_a_template(tmp_path: Path) -> None:
    assert explained(model(tmp_path)) == (None, None)


def test_a_template_that_cannot_be_rendered(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    prompt, problem = explained(model(tmp_path))
    assert prompt is None
    assert "cannot be used: no" in str(problem)
