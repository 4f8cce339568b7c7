"""ollama: GGUF files with a Modelfile each, and what Ollama reads beside a file on the hub."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from qpipe.errors import StageError, UsageError
from qpipe.export.files import place_all
from qpipe.export.model import ExportedModel, checkpoints
from qpipe.export.names import ExportName, export_names
from qpipe.export.ollama.chat_template import PromptDifference
from qpipe.export.ollama.modelfile import Modelfile
from qpipe.export.ollama.settings import OllamaSettings, read
from qpipe.export.target import Export, Exported, ExportedFile, ExportTarget
from qpipe.machine import program

_PROGRAM = "ollama"
_MODELFILE = "Modelfile"
# Characters of a prompt that are shown where it differs.
_SHOWN = 240


class OllamaTarget(ExportTarget):
    """Folder for `ollama create`, and for a repository that `ollama run hf.co/…` reads."""

    name = "ollama"

    def refuse(self, export: Export) -> None:
        """Refuse checkpoints, which Ollama reads of few architectures, and parts by size."""
        for model in checkpoints(export.models):
            raise UsageError(
                f"{model.row.name}: Ollama takes GGUF files, and this is a checkpoint; quantize "
                "with quantize=gguf, or name GGUF rows with --only"
            )
        if export.split_size is not None:
            raise UsageError(
                "--split-size: Ollama takes a model in one file; leave it out, or use --to folder"
            )

    def write(self, export: Export) -> Exported:
        """Place the files, and write a Modelfile for each model."""
        names = export_names(export.models, export.name)
        files = place_all(export)
        settings = [read(model) for model in export.models]
        makes = {}
        for model, name, own in zip(export.models, names, settings, strict=True):
            file = _MODELFILE if len(names) == 1 else f"{_MODELFILE}-{name.format}"
            file = file if file not in makes else f"{_MODELFILE}-{name.stem}"
            text = _modelfile(export, own, name, _parts(files, model, name))
            (export.folder / file).write_text(str(text), "utf-8")
            files.append(ExportedFile(file, model.row.name))
            makes[file] = _ollama_name(name, several=len(names) > 1)
        files += [ExportedFile(name) for name in write_for_the_hub(export, settings)]
        _tell(export, names, settings)
        return Exported(files, _commands(export, makes), {"ollama": _record(makes, settings)})

    def use(self, export: Export, exported: Exported) -> Exported:
        """Run `ollama create` for each Modelfile, where Ollama is on PATH."""
        found = shutil.which(_PROGRAM)
        models: Sequence[Mapping[str, Any]] = exported.more[self.name]
        if found is None:
            export.note(
                "ollama is not on PATH: nothing was created; the commands below do it there"
            )
            return exported
        for each in models:
            command = [found, "create", each["name"], "-f", each["modelfile"]]
            try:
                program.run(command, name="ollama create", cwd=export.out)
            except StageError as error:
                raise StageError(
                    f"{export.out} is written, but Ollama did not take {each['modelfile']}: "
                    f"{error}; try again with `cd {shlex.quote(str(export.out))} && ollama create "
                    f"{each['name']} -f {each['modelfile']}`"
                ) from None
        created = [{**each, "created": True} for each in models]
        runs = {"run it": f"ollama run {created[0]['name']}"}
        return replace(exported, commands=runs, more={**exported.more, self.name: created})


def _parts(files: Sequence[ExportedFile], model: ExportedModel, name: ExportName) -> list[str]:
    """The files that a Modelfile is from: the model, then its towers."""
    own = [
        file.name for file in files if file.row == model.row.name and file.name.endswith(".gguf")
    ]
    towers = [file.name for file in files if file.name.startswith(f"mmproj-{name.model}-")]
    return [*own, *towers]


def _modelfile(
    export: Export, settings: OllamaSettings, name: ExportName, parts: Sequence[str]
) -> Modelfile:
    comments = [f"{name.model} as {name.format}; written by qpipe"]
    if settings.context is not None:
        comments.append(
            f"Reads up to {settings.context} tokens. Ollama takes as many as memory allows; "
            f"PARAMETER num_ctx {settings.context} asks for all."
        )
    result = Modelfile(comments)
    chat = settings.chat
    wanted = [("from", f"./{part}") for part in parts]
    wanted += [("template", chat.text)] if chat and chat.text is not None else []
    wanted += [("system", chat.system)] if chat and chat.system else []
    wanted += settings.parameters
    wanted += [("license", settings.terms)] if settings.terms else []
    for command, value in wanted:
        if not result.add(command, value):
            export.note(
                f"{name.stem}: {command.upper()} is left out: its text cannot stand in a Modelfile"
            )
    return result


def write_for_the_hub(export: Export, settings: Sequence[OllamaSettings]) -> Iterator[str]:
    """The files that Ollama reads beside GGUF files of a repository (`ollama run hf.co/…`), which
    are the same for all of them."""
    first = settings[0]
    if any((own.chat, own.params()) != (first.chat, first.params()) for own in settings):
        export.note(
            "the models want different templates or parameters: the files template, params and "
            "system for hf.co are left out; export one model at a time for them"
        )
        return
    texts = {
        "template": first.chat.text if first.chat else None,
        "params": json.dumps(first.params(), ensure_ascii=False) if first.params() else None,
        "system": first.chat.system if first.chat else None,
    }
    for name, text in texts.items():
        if text:
            (export.folder / name).write_text(text, "utf-8")
            yield name


def _tell(export: Export, names: Sequence[ExportName], settings: Sequence[OllamaSettings]) -> None:
    """Note where templates are not as in the files; once for all that say the same."""
    told = set()
    for name, own in zip(names, settings, strict=True):
        chat, texts = own.chat, list[str]()
        if chat is None:
            texts = ["has no chat template: Ollama gives it prompts as they are"]
        elif chat.text is None and chat.difference is not None:
            texts = [_no_template(chat.difference)]
        else:
            texts = list(chat.notes)
        for text in texts:
            if (name.model, text) not in told:
                told.add((name.model, text))
                export.note(f"{name.model}: {text}")


def _no_template(difference: PromptDifference) -> str:
    words = [
        "no Go template was found that says what its chat template says, so TEMPLATE is left out: "
        "Ollama uses the template in the file where it knows how (versions that run llama-server), "
        f"else prompts as they are. It differs with {difference.conversation}:",
        f"  the file's: {difference.jinja[-_SHOWN:]!r}",
    ]
    if difference.go is not None:
        words.append(f"  in Go:      {difference.go[-_SHOWN:]!r}")
    return "\n".join(words)


def _commands(export: Export, makes: Mapping[str, str]) -> dict[str, str]:
    where = shlex.quote(str(export.out))
    create = {
        f"create {name} in Ollama": f"(cd {where} && ollama create {name} -f {file})"
        for file, name in makes.items()
    }
    return create | {"run it": f"ollama run {next(iter(makes.values()))}"}


def _record(makes: Mapping[str, str], settings: Sequence[OllamaSettings]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "modelfile": file,
            "created": False,
            "template": bool(own.chat and own.chat.text is not None),
            "conversations_checked": own.chat.checked if own.chat else 0,
            "parameters": own.params(),
        }
        for (file, name), own in zip(makes.items(), settings, strict=True)
    ]


def _ollama_name(name: ExportName, *, several: bool) -> str:
    """A name that Ollama takes (types/model/name.go): letters, digits and ``-._``, 80 at most."""
    model, tag = (
        re.sub(r"[^a-z0-9._-]+", "-", part.lower()).strip("-._")[:80]
        for part in (name.model, name.format)
    )
    return f"{model or 'model'}:{tag or 'latest'}" if several else model or "model"
