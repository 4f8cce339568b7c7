"""A reference file's token ids beside a model's vocabulary: the same, or another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import qpipe
from qpipe.errors import DataError
from qpipe.evaluators.reference_files import header, vocabulary
from qpipe.evaluators.reference_files.about import FileAbout, MeasuredPart, ModelPart, StoredPart
from qpipe.evaluators.reference_files.parts import protocol_part, text_part
from qpipe.evaluators.reference_files.writing import write
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.reference import DISTRIBUTIONS, NLL, Reference
from qpipe.evaluators.text.windows import tokenize
from qpipe.stages.evaluator import write_result

DATA = Path(__file__).parents[1] / "data"
SHIPPED = Path(qpipe.__file__).parent / "data"
FOLDERS = {
    "stories-tok105": DATA / "models" / "stories-tok105",
    "stories260K": SHIPPED / "stories260K",
    "tinystories-d256": SHIPPED / "tinystories-d256",
}
TEXT = (DATA / "texts" / "tinystories_train_head_ascii.txt").read_text()[:4000]
Gguf = Callable[[str, str], Path]


class Ids:
    """tokenizer.json's ids, as a text's tokenizer gives them."""

    bos = prefix = 1

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def tokenize(self, text: str) -> npt.NDArray[np.int32]:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int32)


def file_of(
    folder: Path, out: Path, text: str = TEXT, *, carried: bool = True
) -> header.FileHeader:
    """A reference file of a text's ids by the tokenizer in ``folder``, of no distributions."""
    out.mkdir()
    cutting = protocol("llamacpp-512").with_overrides(n_ctx=64)
    tokenized = tokenize(text, Ids(folder), cutting, name="t")
    n_vocab = int(tokenized.windows.tokens.max()) + 1
    write_result(out, {"n_vocab": n_vocab, "top_k": None})
    stored = Reference(out, tokenized)
    row = np.zeros(1, stored.form.row_type)
    (out / DISTRIBUTIONS).write_bytes(row.tobytes() * tokenized.windows.scored)
    np.save(out / NLL, np.ones(tokenized.windows.scored))
    about = FileAbout(
        model=ModelPart(name=folder.name),
        text=text_part("t", [text], carried=carried),
        protocol=protocol_part(tokenized),
        stored=StoredPart(n_vocab=n_vocab),
        measured=MeasuredPart(backend="none"),
    )
    write(out / "t.reference.safetensors", about, stored, [text])
    return header.read(out / "t.reference.safetensors")


@pytest.fixture
def byte_level(tmp_path: Path) -> Path:
    """A checkpoint's files with byte-level BPE that was trained on the text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    folder = tmp_path / "bytes"
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator([TEXT, "naïve café, 日本語"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "architectures": ["Qwen2ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(sizes))
    return folder


@pytest.mark.parametrize("name", sorted(FOLDERS))
@pytest.mark.parametrize("model", sorted(FOLDERS))
def test_a_vocabulary_is_told_from_others(name: str, model: str, tmp_path: Path) -> None:
    file = file_of(FOLDERS[name], tmp_path / "out")
    if name == model:
        vocabulary.require(file, FOLDERS[model])
        return
    with pytest.raises(DataError, match=f"its tokenizer is not that of t.*, which is of {name}"):
        vocabulary.require(file, FOLDERS[model])


def test_a_gguf_file_is_known_by_its_header(gguf_of: Gguf, tmp_path: Path) -> None:
    file = file_of(FOLDERS["stories260K"], tmp_path / "out")
    for name in ("stories260K", "tinystories-d256"):
        (tmp_path / name).mkdir()
        shutil.copy(gguf_of(name, "Q8_0"), tmp_path / name / "m.gguf")
    vocabulary.require(file, tmp_path / "stories260K")
    with pytest.raises(DataError, match="the text begins with"):
        vocabulary.require(file, tmp_path / "tinystories-d256")


def test_bytes_of_several_characters_are_spelled(byte_level: Path, tmp_path: Path) -> None:
    """Composed and decomposed, and with words that a normalizer would change."""
    text = "Une naïve cafétéria, 日本語 und e\u0301t\u00e9. " * 60
    vocabulary.require(file_of(byte_level, tmp_path / "out", text), byte_level)
    with pytest.raises(DataError, match="its tokenizer is not that of"):
        vocabulary.require(file_of(FOLDERS["stories260K"], tmp_path / "other"), byte_level)


def test_ids_beyond_a_vocabulary_are_no_ids_of_it(byte_level: Path, tmp_path: Path) -> None:
    file = file_of(FOLDERS["stories260K"], tmp_path / "out", carried=False)
    vocabulary.require(file, byte_level)  # without the text nothing else is known
    with pytest.raises(DataError, match=r"there are ids up to \d+, and it has 105 tokens"):
        vocabulary.require(file, FOLDERS["stories-tok105"])


def test_nothing_is_said_where_nothing_is_known(byte_level: Path, tmp_path: Path) -> None:
    file = file_of(FOLDERS["stories260K"], tmp_path / "out")
    vocabulary.require(file, tmp_path)  # no model
    settings = byte_level / "tokenizer.json"
    whole = json.loads(settings.read_text())
    settings.write_text(json.dumps(whole | {"model": {"type": "WordPiece", "vocab": {}}}))
    vocabulary.require(file, byte_level)
    numbers = file_of(FOLDERS["stories260K"], tmp_path / "numbers", ". , ! " * 700)
    vocabulary.require(numbers, FOLDERS["tinystories-d256"])  # too few letters to tell
