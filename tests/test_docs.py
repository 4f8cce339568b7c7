"""The documents hold together: links lead somewhere, verbs, settings and groups are there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from qpipe.cli import VERBS
from qpipe.recipe.request import shipped_recipes
from qpipe.recipe.settings import groups
from tests.cli import qpipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*.md")])
NAMES = {path: path.relative_to(ROOT).as_posix() for path in PAGES}


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```|^ {4,}.*?$", "", page.read_text(), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command of qpipe that a page shows, in words."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        shown = re.findall(r"^ {4}qpipe (.*)$|`qpipe (\w[^`]*)`", text, re.M)
        for line in map("".join, shown):
            yield NAMES[page], re.split(r"\s+", re.split(r"\s+#+ ", line)[0].strip())


def test_links_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if link.startswith(("http://", "https://")):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{NAMES[page]}: {link}")
    assert not broken, "\n".join(broken)


def test_every_page_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(page))
    }
    assert not [name for path, name in NAMES.items() if path not in linked]


def test_commands_that_are_shown_exist() -> None:
    shown = list(commands())
    assert len(shown) > 100
    unknown = [f"{page}: qpipe {words[0]}" for page, words in shown if words[0] not in VERBS]
    assert not unknown, "\n".join(unknown)


def test_settings_that_are_shown_exist() -> None:
    settings = {setting.name for group in groups() for setting in group.settings}
    blocks = ("model", "calibration", "quantize", "evaluate", "executor", "run")
    unknown = []
    for page, words in commands():
        for word in words:
            name, equals, value = word.strip("'\"").partition("=")
            if equals and name.partition(".")[0] in blocks and "." in name:
                unknown += [] if name in settings else [f"{page}: {word}"]
            elif equals and name in ("quantize", "evaluate", "imatrix", "executor"):
                files = {path.stem for path in (shipped_recipes() / name).glob("*.yaml")}
                asked = set(re.findall(r"[\w.]+", value)) - {"METHOD", "METRIC"}
                unknown += [f"{page}: {word}"] if asked - files else []
    assert not unknown, "\n".join(unknown)


RECIPES = ("README.md", "docs/start.md", "docs/howto/write-a-recipe.md")


def recipe(page: str) -> str:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    return str(block)


@pytest.mark.parametrize("page", RECIPES)
def test_recipes_that_are_shown_can_be_planned(page: str, tmp_path: Path) -> None:
    data = ROOT / "qpipe" / "data"
    shutil.copytree(data / "tinystories-d256", tmp_path / "my-model")
    shutil.copy(data / "texts" / "tinystories_lower_heldout.txt", tmp_path / "my-text.txt")
    (tmp_path / "shown.yaml").write_text(recipe(page))
    answer = qpipe("plan", "shown.yaml", cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    assert "text: my-text.txt" in answer.stdout


def test_both_readmes_show_one_recipe() -> None:
    assert yaml.safe_load(recipe("README.zh-CN.md")) == yaml.safe_load(recipe("README.md"))
