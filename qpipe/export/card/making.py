"""How the files of a card were made and measured, from manifests and run.json."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import quote

from qpipe.core.store import Artifact
from qpipe.export import licences
from qpipe.export.card.content import CardContent
from qpipe.export.model import DOWNLOAD, IMATRIX, ExportedModel
from qpipe.report.alike import listed
from qpipe.report.markup import escaped, plain
from qpipe.report.table import Table
from qpipe.report.text import printable
from qpipe.results.comparison import Comparison

HUB = "https://huggingface.co"

_PLACE = re.compile(r"(?<![\w:/.])(?:~|\.{0,2}/)[^\s'\"]*/(?=[^/\s'\"])")
_TOOLS = ("name", "version")


def making(content: CardContent) -> Iterator[str]:
    """Return lines of Markdown on how the files were made."""
    yield f"- Source: {_source(content)}"
    for tools in _tools(content):
        yield f"- Tools: {plain(tools)}"
    yield from dict.fromkeys(map(_text, _texts(content)))
    for name in dict.fromkeys(_matrices(content)):
        yield f"- Importance matrix: {plain(name)}, as it was given"
    yield from (f"- {plain(placeless(note))}" for note in _notes(content))
    yield ""
    yield from _commands(content)


def _notes(content: CardContent) -> Iterator[str]:
    """Notes of stages on the models; one on several of them has their names in front."""
    names: dict[str, list[ExportedModel]] = {}
    for model in content.models:
        for note in model.row.notes:
            names.setdefault(note, []).append(model)
    for note, models in names.items():
        every = len(models) == len(content.models) or note.startswith(f"{models[0].row.name}: ")
        rows = [content.levels.named(model.row) for model in models]
        yield note if every else f"{listed(rows)}: {note}"


def measuring(content: CardContent) -> Iterator[str]:
    """Return lines of Markdown on how the files were measured, and what stands in the cells."""
    rows = [replace(row, notes=(), error=None) for row in content.levels.comparison.rows]
    table = Table(Comparison(tuple(rows)))
    captions = [block.caption for block in table.blocks() if block.caption]
    for line in (*captions, *table.remarks):
        yield f"- {escaped(placeless(line))}"


def _source(content: CardContent) -> str:
    source = content.source
    if source.repository is None:
        return f"{plain(content.name)}, a folder or file that is not on the hub"
    link = f"[{plain(source.repository)}]({HUB}/{quote(source.repository)})"
    return f"{link} at commit `{source.commit}`" if source.commit else link


def _tools(content: CardContent) -> Iterator[str]:
    """The tools that shaped the bytes, with their versions; a line for each set of them."""
    sets: dict[str, None] = {}
    for model in content.models:
        engine = model.manifest.engine
        tools = {str(n): str(v) for n, v in engine.items() if n not in _TOOLS}
        tools = {"qpipe": "", **{str(n): str(v) for n, v in model.manifest.tools.items()}, **tools}
        sets[", ".join(f"{name} {version}".strip() for name, version in tools.items())] = None
    yield from sets


def _texts(content: CardContent) -> Iterator[Artifact]:
    """The texts that weights were fitted to: downloads that hold no model."""
    seen: dict[str, Artifact] = {}
    for model in content.models:
        for key, artifact in model.ancestors.items():
            if artifact.manifest.stage == DOWNLOAD and not _has_weights(artifact):
                seen.setdefault(key, artifact)
    yield from seen.values()


def _matrices(content: CardContent) -> Iterator[str]:
    """The names of importance matrices that were given as files."""
    for model in content.models:
        given = model.manifest.inputs.get(IMATRIX, {}).get("key", "")
        artifact = model.ancestors.get(given)
        if artifact is not None and artifact.manifest.stage == DOWNLOAD:
            yield str(artifact.manifest.facts.get("name") or "a file")


def _has_weights(artifact: Artifact) -> bool:
    return any(f.path.endswith((".safetensors", ".gguf")) for f in artifact.manifest.files)


def _text(artifact: Artifact) -> str:
    params, files = artifact.manifest.params, artifact.manifest.files
    repository = str(params["repo"]) if params.get("repo") else None
    licence = licences.of_text(repository, (file.sha256 for file in files))
    name = str(artifact.manifest.facts.get("name") or "text")
    words = f"- Calibration text: {plain(name)}"
    if repository is not None:
        page = f"{HUB}/datasets/{quote(repository)}"
        words += f" of [{plain(repository)}]({page}) at commit `{params.get('commit')}`"
    return f"{words}, {plain(licence) if licence else 'licence not known here'}"


def _commands(content: CardContent) -> Iterator[str]:
    commands = [run.about["command"] for run in content.runs if run.about.get("command")]
    if not commands:
        return
    yield f"Made {'and measured ' * (content.levels.key is not None)}by:"
    yield ""
    text = "\n".join(map(_command, commands))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield from (f"{fence}bash", text, fence, "")


def _command(words: Sequence[str]) -> str:
    """A command line, without the folders of whoever gave it."""
    first, *others = words
    shown = [first.rpartition("/")[2], *map(placeless, others)]
    return printable(" ".join(map(_argument, shown)))


def _argument(word: str) -> str:
    """A word as a shell takes it; one without a folder, which has to be put in, as it is."""
    return word if re.fullmatch(r"[\w@%+=:,./…-]+", word) else shlex.quote(word)


def placeless(words: str) -> str:
    """Words in which files are named without the folders on this machine, which are no one else's
    business: ``…/model``."""
    return _PLACE.sub("…/", words)
