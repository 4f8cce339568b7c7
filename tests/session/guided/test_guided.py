"""A guided sweep through the command line: what it finds, what it costs, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli import Answer, called
from tests.commands.test_answers import wrong

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("guided")]

DATA = Path(__file__).parents[2] / "data"
STORIES = DATA / "models" / "stories260K"
TEXT = DATA / "texts" / "tinystories_train_head_ascii.txt"
ASKED = (
    *("local", f"model.source={STORIES}", "evaluate=kld", f"evaluate.text={TEXT}"),
    *("evaluate.n_ctx=64", "evaluate.chunks=120", "executor=inline", "-m"),
)
LEVELS = "quantize.type=Q8_0,Q5_1,Q5_0,Q4_1,Q4_0,IQ4_NL"
GUIDED = "hydra/sweeper=qpipe_pareto"


def run(cwd: Path, *more: str, code: int = 0) -> dict[str, Any]:
    answer = called("run", *ASKED, *more, "--json", cwd=cwd)
    assert answer.code == code, answer
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def front(rows: list[Mapping[str, Any]]) -> list[str]:
    """The rows that no other beats in both size and kld, smallest first."""
    found: list[Mapping[str, Any]] = []
    levels = [row for row in rows if row["kld"] is not None]
    for row in sorted(levels, key=lambda row: (row["size_bytes"], row["kld"])):
        if not found or row["kld"] < found[-1]["kld"]:
            found.append(row)
    return [row["name"] for row in found]


def measured(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The measurement of each row by its name."""
    return {
        row["name"]: each
        for row in document["rows"]
        for each in row["measurements"]
        if each["metric"] == "kld"
    }


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Answer]:
    """The folder of a guided sweep, its document, and what the report of it says."""
    cwd = tmp_path_factory.mktemp("guided")
    return cwd, run(cwd, GUIDED, LEVELS), called("report", "latest", cwd=cwd)


def test_it_finds_the_front_of_the_plain_sweep_and_gives_its_work_to_it(
    guided: tuple[Path, dict[str, Any], Answer],
) -> None:
    cwd, document, report = guided
    (compared,) = document["sweep"]["compared"]
    plain = run(cwd, LEVELS)
    assert compared["found"] == front(plain["rows"])
    assert compared["tokens_of_all"] == 6 * 120 * 64
    assert compared["tokens"] < 0.8 * compared["tokens_of_all"]
    assert compared["tokens"] == sum(level["tokens"] for level in compared["levels"])
    ours, theirs = measured(document), measured(plain)
    ends = {level["name"]: level for level in compared["levels"]}
    whole = [name for name, level in ends.items() if level["windows"] == compared["windows"]]
    status = {node["name"]: node["status"] for node in plain["nodes"]}
    assert whole
    for name, level in ends.items():
        if name in whole:  # what came to the end of the text is the plain sweep's
            assert ours[name]["key"] == theirs[name]["key"]
            assert status[f"kld[stories260K {name}]"] == "cached"
            continue
        low, high = level["interval"]
        assert low < level["kld"] < high
        assert status[f"kld[stories260K {name}]"] == "ran"
        if level["state"] == "worse":
            assert level["by"] in ends
            assert ours[name]["dominated_by"]["name"] == level["by"]
            assert f"≈ {name}" in report.stdout
    assert f"front of size and kld: {', '.join(compared['found'])}" in report.stdout


def test_what_goes_on_from_fewer_windows_has_the_bytes_of_what_does_not(
    guided: tuple[Path, dict[str, Any], Answer], tmp_path: Path
) -> None:
    _, document, _ = guided
    (compared,) = document["sweep"]["compared"]
    name = next(e["name"] for e in compared["levels"] if e["windows"] == compared["windows"])
    alone = run(tmp_path, f"quantize.type={name}")
    files = ("result.json", "sums.npy")
    folders = [Path(measured(each)[name]["artifact"]) for each in (document, alone)]
    assert folders[0].name == folders[1].name
    assert [(folders[0] / file).read_bytes() for file in files] == [
        (folders[1] / file).read_bytes() for file in files
    ]


def test_the_smallest_that_is_good_enough_and_nothing_made_in_vain(
    guided: tuple[Path, dict[str, Any], Answer],
) -> None:
    cwd, document, _ = guided
    sizes = {row["name"]: row["size_bytes"] for row in document["rows"]}
    bounds = (f"hydra.sweeper.max_size={sizes['Q5_1']}", "hydra.sweeper.max_kld=0.05")
    found = run(cwd, GUIDED, LEVELS, "hydra.sweeper.find=smallest", *bounds)
    (compared,) = found["sweep"]["compared"]
    assert compared["found"] == ["Q5_0"]
    states = {level["name"]: level["state"] for level in compared["levels"]}
    assert states["Q8_0"] == "too large"
    assert states["Q5_1"] == "larger"
    assert "Q8_0" not in [row["name"] for row in found["rows"]]


def test_bounds_that_nothing_meets_are_named_with_what_comes_nearest(
    guided: tuple[Path, dict[str, Any], Answer],
) -> None:
    cwd, document, _ = guided
    small = called("run", *ASKED, GUIDED, LEVELS, "hydra.sweeper.max_size=9kB", cwd=cwd)
    least = min(row["size_bytes"] for row in document["rows"])
    assert small.code == 1
    assert f"none; the smallest level is Q4_0 with {least:,} bytes" in small.stdout
    bounds = ("hydra.sweeper.max_kld=0.0005", "hydra.sweeper.max_size=265kB")
    both = called("run", *ASKED, GUIDED, LEVELS, *bounds, cwd=cwd)
    assert both.code == 1
    assert "none; the least kld of those within the size is" in both.stdout
    assert "(IQ4_NL)" in both.stdout


def test_the_whole_text_for_what_is_found(
    guided: tuple[Path, dict[str, Any], Answer],
) -> None:
    cwd, document, _ = guided
    found = run(cwd, GUIDED, LEVELS, "hydra.sweeper.whole=true")
    (before,), (compared,) = document["sweep"]["compared"], found["sweep"]["compared"]
    assert compared["found"] == before["found"]
    levels = {level["name"]: level for level in compared["levels"]}
    assert {levels[name]["windows"] for name in compared["found"]} == {compared["windows"]}
    assert compared["tokens"] < compared["tokens_of_all"]


def test_what_the_store_has_measured_whole_costs_nothing(
    guided: tuple[Path, dict[str, Any], Answer], tmp_path: Path
) -> None:
    """Half of the levels are there as a plain sweep left them; the front is the same."""
    _, document, _ = guided
    (before,) = document["sweep"]["compared"]
    there = {"Q8_0", "Q5_0", "Q4_0"}
    run(tmp_path, f"quantize.type={','.join(sorted(there))}")
    answer = called("plan", *ASKED, GUIDED, LEVELS, cwd=tmp_path)
    assert "of 6 levels, 3 of them measured already" in " ".join(answer.stdout.split())
    found = run(tmp_path, GUIDED, LEVELS)
    (compared,) = found["sweep"]["compared"]
    assert compared["found"] == before["found"]
    levels = {level["name"]: level for level in compared["levels"]}
    for name in there:
        assert (levels[name]["windows"], levels[name]["tokens"]) == (120, 0)
    assert all(level["tokens"] for name, level in levels.items() if name not in there)
    assert compared["tokens"] < before["tokens"]
    again = run(tmp_path, GUIDED, LEVELS, "--again=kld")
    assert all(level["tokens"] for level in again["sweep"]["compared"][0]["levels"])


def test_a_plan_says_what_a_guided_sweep_does(
    guided: tuple[Path, dict[str, Any], Answer], tmp_path: Path
) -> None:
    cwd, _, _ = guided
    bounds = ("hydra.sweeper.max_kld=0.05", "hydra.sweeper.find=smallest")
    words = " ".join(called("plan", *ASKED, GUIDED, LEVELS, *bounds, cwd=tmp_path).stdout.split())
    assert "guided sweep: the smallest level that is good enough (kld at most 0.05)" in words
    assert "of 6 levels: each is measured in 16 windows" in words
    assert "at most each on the whole text" in words, "nothing is cut into tokens yet"
    answer = called("plan", *ASKED, GUIDED, LEVELS, "hydra.sweeper.first=8", "--json", cwd=cwd)
    document = json.loads(answer.stdout)
    assert wrong(document, "plan") == []
    guided_plan = document["guided"]
    assert (guided_plan["levels"], guided_plan["windows"]) == (6, 120)
    left = 6 - guided_plan["measured"]
    assert guided_plan["tokens_at_most"] == left * 120 * 64
    plain = called("plan", *ASKED, LEVELS, "--json", cwd=cwd)
    assert "guided" not in json.loads(plain.stdout)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (("max_size=265kB", "max_kld=0.0005"), "raise hydra.sweeper.max_kld or max_size"),
        (("find=best", "max_size=9kB"), "raise hydra.sweeper.max_size"),
        (("find=smallest", "max_kld=1e-9"), "raise hydra.sweeper.max_kld"),
    ],
)
def test_bounds_that_contradict_each_other_on_an_empty_store(
    tmp_path: Path, bounds: tuple[str, ...], words: str
) -> None:
    given = [f"hydra.sweeper.{each}" for each in bounds]
    answer = called("run", *ASKED, GUIDED, "quantize.type=Q4_0,Q4_1", *given, cwd=tmp_path)
    assert answer.code == 1, answer
    assert words in " ".join(answer.stdout.split()), answer.stdout
    listed = json.loads(called("ls", "--json", cwd=tmp_path).stdout)
    made = [entry for entry in listed["artifacts"] if entry["stage"] == "quantize"]
    assert not made or "max_size=9kB" not in bounds, "what is too large is not made"


def test_levels_are_compared_with_those_that_are_measured_alike(tmp_path: Path) -> None:
    kinds = ("quantize.type=Q8_0,Q4_0", "evaluate.type_k=f16,f32")
    asked = [word for word in ASKED if not word.startswith("evaluate.chunks")]
    answer = called("run", *asked, GUIDED, *kinds, "evaluate.chunks=16", cwd=tmp_path)
    assert answer.code == 0, answer
    lines = [line for line in answer.stdout.splitlines() if "the front" in line]
    assert len(lines) == 2
    assert all("(2 of 2 levels; " in line and " among " in line for line in lines), lines


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("quantize.type=Q8_0",), "the sweep has one job"),
        (("quantize.type=Q8_0,Q4_0", "evaluate=perplexity"), "evaluate=kld adds one"),
        (("quantize.type=Q8_0,Q4_0", "evaluate=none"), "evaluate=kld adds one"),
        (("quantize.type=Q8_0,Q4_0", "evaluate.precision=0.05"), "leave evaluate.precision out"),
        (("quantize.type=Q8_0,Q4_0", "evaluate.stop_dominated=true"), "stop_dominated out"),
        (("evaluate.type_k=f16,f32",), "no two levels of this sweep are measured alike"),
        ((LEVELS, "hydra.sweeper.max_kdl=1"), "max_kdl"),
        ((LEVELS, "hydra.sweeper.find=front2"), "hydra.sweeper.find=front2"),
        ((LEVELS, "hydra.sweeper.find=smallest"), "hydra.sweeper.max_kld=0.01"),
        ((LEVELS, "hydra.sweeper.max_size=big"), "hydra.sweeper.max_size=big"),
        ((LEVELS, "hydra.sweeper.max_kld=-1"), "hydra.sweeper.max_kld=-1"),
        ((LEVELS, "hydra.sweeper.confidence=2"), "hydra.sweeper.confidence=2"),
        ((LEVELS, "hydra.sweeper.first=2"), "hydra.sweeper.first=2"),
        ((LEVELS, "hydra.sweeper.max_batch_size=2"), "leave it out"),
    ],
)
def test_what_cannot_be_searched(tmp_path: Path, more: tuple[str, ...], words: str) -> None:
    asked = (*(word for word in ASKED if word != "evaluate=kld"), GUIDED)
    chosen = () if any(word.startswith("evaluate=") for word in more) else ("evaluate=kld",)
    if chosen == () and "evaluate=none" in more:
        asked = tuple(word for word in asked if not word.startswith("evaluate."))
    answer = called("run", *asked, *chosen, *more, cwd=tmp_path)
    assert answer.code == 2, answer
    assert words in " ".join(answer.stderr.split()), answer.stderr


def test_a_guided_sweep_is_a_sweep(tmp_path: Path) -> None:
    answer = called("run", "local", f"model.source={STORIES}", GUIDED, cwd=tmp_path)
    assert answer.code == 2
    assert "guides a sweep: add -m" in answer.stderr
