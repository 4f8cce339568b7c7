"""What transformers 4 is shown of a checkpoint that transformers 5 wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.errors import CheckpointError
from qpipe.packed import transformers4_config

PATH = Path("config.json")


def test_a_base_and_no_scaling() -> None:
    found = transformers4_config.config(
        PATH, {"dtype": "bfloat16", "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    )
    assert found == {"torch_dtype": "bfloat16", "rope_theta": 5e5}


def test_scaling_and_a_part_of_the_head() -> None:
    found = transformers4_config.config(
        PATH,
        {
            "rope_parameters": {
                "rope_theta": 5e5,
                "rope_type": "llama3",
                "factor": 8.0,
                "partial_rotary_factor": 0.5,
            }
        },
    )
    assert found == {
        "rope_theta": 5e5,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
    }


def test_an_old_config_is_as_it_was() -> None:
    old = {"rope_theta": 1e6, "rope_scaling": None, "torch_dtype": "float16"}
    assert transformers4_config.config(PATH, old) == old


def test_one_set_for_each_kind_of_layer() -> None:
    sets = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    with pytest.raises(CheckpointError, match="full_attention, sliding_attention"):
        transformers4_config.config(PATH, {"rope_parameters": sets})


def test_a_view(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"rope_parameters": {"rope_theta": 7e4}, "auto_map": {"AutoConfig": "x.Y"}})
    )
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "modeling_x.py").write_text("raise SystemExit")
    with transformers4_config.view(tmp_path) as folder:
        assert {path.name for path in folder.iterdir()} == {
            "config.json", "tokenizer_config.json", "model.safetensors"
        }  # fmt: skip
        assert transformers4_config.theta(folder) == 7e4
        assert "auto_map" not in json.loads((folder / "config.json").read_text())
        assert "PreTrainedTokenizerFast" in (folder / "tokenizer_config.json").read_text()
        assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert not folder.exists()
