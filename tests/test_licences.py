"""What ships beside the code says whose it is: all data have their licences, which the package
names."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LISTS = (ROOT / "qpipe" / "data", ROOT / "tests" / "data")
_ROW = re.compile(r"\| ([\w./-]+) \| ([\w. -]+) \| (.+) \|")
# Words of the terms that a note beside the data has to have, by licence.
_TERMS = {
    "MIT": "Permission is hereby granted, free of charge",
    "CDLA-Sharing-1.0": "https://cdla.dev/sharing-1-0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
}


def listed(folder: Path) -> dict[str, str]:
    """The licence of each thing in a folder of data."""
    rows = map(_ROW.fullmatch, (folder / "LICENSES.md").read_text().splitlines())
    found = {row[1]: row[2] for row in rows if row and row[1] != "what"}
    assert len(found) > 4
    return found


@pytest.mark.parametrize("folder", LISTS, ids=["shipped", "tests"])
def test_everything_has_a_licence(folder: Path) -> None:
    licences = listed(folder)
    assert all((folder / name).exists() for name in licences)
    files = [
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path)
    ]
    for path in files:
        name = path.relative_to(folder).as_posix()
        is_note = path.name in ("LICENSES.md", "README.md") and path.parent.name in (
            "data",
            "texts",
        )
        covered = [place for place in licences if name == place or name.startswith(f"{place}/")]
        assert is_note or len(covered) == 1, f"{name}: {covered or 'no licence'}"


@pytest.mark.parametrize("folder", LISTS, ids=["shipped", "tests"])
def test_the_terms_of_others_go_along(folder: Path) -> None:
    for name, licence in listed(folder).items():
        for one in {*licence.split(" AND ")} - {"Apache-2.0"}:
            place = folder / name
            beside = place if place.is_dir() else place.parent
            notes = [beside / note for note in ("LICENSE.md", "README.md")]
            if place.name == "stores":  # of models whose terms are in this folder
                notes = [folder / "models" / "stories-tok105" / "LICENSE.md"]
            text = "".join(note.read_text() for note in notes if note.is_file())
            assert _TERMS[one] in text, f"{name}: the terms of {one} are not beside it"


def test_digests_in_notes_are_those_of_the_files() -> None:
    note = (ROOT / "qpipe" / "data" / "texts" / "LICENSE.md").read_text()
    for name in ("tinystories_lower_heldout.txt", "tinystories_lower_train.txt"):
        digest = hashlib.sha256((ROOT / "qpipe" / "data" / "texts" / name).read_bytes())
        assert digest.hexdigest() in note


def test_the_package_names_every_licence() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (named,) = re.findall(r'^license = "(.+)"$', project, re.MULTILINE)
    (patterns,) = re.findall(r"^license-files = \[(.+)\]$", project, re.MULTILINE)
    shipped = {one for each in listed(LISTS[0]).values() for one in each.split(" AND ")}
    assert {*named.split(" AND ")} == {"Apache-2.0", *shipped}
    files = {path for pattern in re.findall(r'"(.+?)"', patterns) for path in ROOT.glob(pattern)}
    assert files >= {ROOT / "LICENSE", *(ROOT / "qpipe" / "data").rglob("LICENSE*.md")}
