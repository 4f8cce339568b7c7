"""Task folders: what may be in them, what is refused, and that nothing in them runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from qpipe.errors import DataError
from qpipe.evaluators.harness.task_folder import check, with_data_of
from tests.evaluators.tasks import STORIES, ask

METRICS = {"acc", "acc_norm", "exact_match", "word_perplexity", "bits_per_byte"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORIES, tmp_path / "tasks"))


def change(folder: Path, text: str) -> None:
    file = folder / "stories.yaml"
    file.write_text(file.read_text() + text)


def test_a_folder_of_data_is_fine(folder: Path) -> None:
    found = check(folder, trusted=None, metrics=METRICS)
    assert not found.trusted
    assert re.fullmatch("[0-9a-f]{64}", found.digest)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("process_docs: !function utils.process\n", "process_docs is code (!function utils"),
        ("doc_to_text: [!function os.system]\n", "doc_to_text[0] is code"),
        ("class: MyTask\n", "class is code"),
        ("unsafe_code: true\n", "asks to run what the model writes"),
        ("metric_list: [{metric: acc, hf_evaluate: true}]\n", "loads a metric's code"),
        ("metric_list: [{metric: ./mine.py}]\n", "no metric of lm-eval's own"),
        ("dataset_path: pandas\n", "whose reader may run what it reads"),
        ("dataset_path: ./loader.py\n", "whose reader may run"),
        ("dataset_kwargs: {data_files: /etc/passwd}\n", "outside of the folder"),
        ("dataset_kwargs: {data_files: {test: ../other.jsonl}}\n", "outside of the folder"),
        ("dataset_kwargs: {data_files: 'https://example.org/a.jsonl'}\n", "outside of"),
        ("dataset_kwargs: {storage_options: {}}\n", "storage_options: a task may give"),
        ("include: /etc/hosts\n", "include: /etc/hosts is outside"),
        ("include: ../other.yaml\n", "outside of the folder"),
        ("include: absent.yaml\n", "there is no absent.yaml beside it"),
        ("include: stories.yaml\n", "leads back to this file"),
        ("include: [3]\n", "include: 3 is not the name of a file"),
        ("use_prompt: 'a.yaml:b'\n", "prompts from elsewhere"),
        ("x: !!python/object/apply:os.system [ls]\n", "not a task file"),
        ("x: [\n", "not a task file"),
        ("x: 2024-13-45\n", "not a task file: no usable value: month must be in 1..12"),
        ("x: !!bool maybe\n", "not a task file: no usable value"),
        ("x: " + "1" * 5000, "not a task file: a number of 5,000 digits"),
        ("metric_list: [{metric: 1" + ":59" * 3000 + "}]\n", "a number of 9,001 digits"),
        (f"include: {'x' * 300}\n", "beside it"),
        ("x: " + "[" * 200_000 + "]" * 200_000, "more than 100 levels deep"),
    ],
)
def test_what_is_refused(folder: Path, text: str, words: str) -> None:
    change(folder, text)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        check(folder, trusted=None, metrics=METRICS)
    assert "stories.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["base.txt", "base.yml", "deep/base", "base.yaml"])
def test_what_is_included_is_checked_whatever_its_name(folder: Path, name: str) -> None:
    base = folder / name
    base.parent.mkdir(exist_ok=True)
    base.write_text("process_docs: !function utils.process\n")
    change(folder, f"include: [{name}]\n")
    with pytest.raises(DataError, match=re.escape(f"{name}: process_docs is code")):
        check(folder, trusted=None, metrics=METRICS)


def test_lm_eval_is_given_what_was_checked(folder: Path) -> None:
    (folder / "base.txt").write_text("num_fewshot: 2\ndoc_to_choice: []\ntask_list: [a]\n")
    change(folder, "include: base.txt\n")
    config = check(folder, trusted=None, metrics=METRICS).configs[folder / "stories.yaml"]
    own = yaml.safe_load((folder / "stories.yaml").read_text())
    assert config == {"num_fewshot": 2, "doc_to_choice": []} | {
        name: value for name, value in own.items() if name != "include"
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_folder_here_is_not_taken_for_a_data_set_of_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "owner" / "name"
    local.mkdir(parents=True)
    shutil.copy(folder / "test.jsonl", local / "test.jsonl")
    file = folder / "stories.yaml"
    config = yaml.safe_load(file.read_text()) | {"dataset_path": "owner/name"}
    config.pop("dataset_kwargs", None)
    file.write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="its data set owner/name is also a folder here"):
        ask(None, ["stories"], tmp_path / "answers.jsonl", folder=folder)


def test_code_runs_only_if_this_very_folder_is_trusted(folder: Path) -> None:
    change(folder, "process_docs: !function utils.process\n")
    (folder / "utils.py").write_text("def process(docs): return docs\n")
    with pytest.raises(DataError) as caught:
        check(folder, trusted=None, metrics=METRICS)
    named = re.search("trust_task_code=([0-9a-f]{64})", str(caught.value))
    assert named
    assert check(folder, trusted=named[1], metrics=METRICS).trusted

    (folder / "utils.py").write_text("import os\n")
    with pytest.raises(DataError, match="not what you have read"):
        check(folder, trusted=named[1], metrics=METRICS)


def test_trust_is_no_way_out_of_the_folder(folder: Path) -> None:
    change(folder, "dataset_kwargs: {data_files: /etc/passwd}\n")
    digest = "0" * 64
    with pytest.raises(DataError, match="not what you have read") as caught:
        check(folder, trusted=digest, metrics=METRICS)
    actual = re.search("[0-9a-f]{64}", str(caught.value))
    assert actual
    with pytest.raises(DataError, match="outside of the folder"):
        check(folder, trusted=actual[0], metrics=METRICS)


def test_files_that_include_each_other_over_and_over(folder: Path) -> None:
    """Each the next one twice: read once each, and not two to the power of their number times."""
    for number in range(60):
        more = f"include: [{number + 1}.yml, {number + 1}.yml]\n" if number < 59 else "{}\n"
        (folder / f"{number}.yml").write_text(more)
    change(folder, "include: 0.yml\n")
    check(folder, trusted=None, metrics=METRICS)
    for number in range(150):
        (folder / f"{number}.yml").write_text(f"include: {number + 1}.yml\n")
    (folder / "150.yml").write_text("{}\n")
    with pytest.raises(DataError, match=r"100.yml: the last of more than 100 includes"):
        check(folder, trusted=None, metrics=METRICS)


def test_no_task_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \*\.yaml"):
        check(tmp_path, trusted=None, metrics=METRICS)


def test_data_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jsonl").touch()
    (tmp_path / "b.jsonl").touch()
    config: dict[str, Any] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "a.jsonl", "train": ["b.jsonl"]}},
    }
    made = with_data_of({"group": "g", "task": ["other", config]}, tmp_path / "deep", tmp_path)
    files = made["task"][1]["dataset_kwargs"]["data_files"]
    assert files == {
        "test": str(tmp_path / "deep" / "a.jsonl"),
        "train": [str(tmp_path / "b.jsonl")],
    }
    hub = {"dataset_path": "owner/name", "dataset_kwargs": {"data_files": "a.jsonl"}}
    assert with_data_of(hub, tmp_path, tmp_path) == hub


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_templates_are_rendered_in_a_sandbox(folder: Path, tmp_path: Path) -> None:
    file = folder / "stories.yaml"
    config = yaml.safe_load(file.read_text())
    config["doc_to_text"] = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(DataError, match="unsafe"):
        ask(None, ["stories"], tmp_path / "answers.jsonl", folder=folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_functions_of_an_untrusted_folder_are_not_even_read(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (folder / "utils.py").write_text(f"open({str(marker)!r}, 'w')\n")
    change(folder, "process_docs: !function utils.process\n")
    with pytest.raises(DataError, match="is code"):
        ask(None, ["stories"], tmp_path / "answers.jsonl", folder=folder)
    assert not marker.exists()
