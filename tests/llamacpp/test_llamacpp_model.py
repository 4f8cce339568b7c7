"""Loading files, tokenizing, decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from qpipe.errors import CheckpointError, DataError, StageError, UsageError
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import ContextOptions, LlamaContext
from qpipe.llamacpp.model import Model

Gguf = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def stories(gguf_of: Gguf) -> Iterator[Model]:
    with Model(gguf_of("stories260K", "F32")) as model:
        yield model


def test_vocabulary_and_description(stories: Model) -> None:
    vocab = stories.vocab
    assert (vocab.n_tokens, vocab.bos, vocab.eos) == (512, 1, 2)
    assert (vocab.add_bos, vocab.add_eos) == (True, False)
    assert stories.n_ctx_train == 512
    assert "F32" in stories.describe()


def test_tokenize_agrees_with_sentencepiece(stories: Model) -> None:
    from sentencepiece import SentencePieceProcessor

    folder = Path(__file__).parent.parent / "data"
    text = (folder / "texts" / "tinystories_train_head_ascii.txt").read_text()[:20_000] + " é 中\n"
    reference = SentencePieceProcessor(str(folder / "models" / "stories260K" / "tokenizer.model"))
    assert stories.vocab.tokenize(text).tolist() == reference.encode(text)


def test_special_tokens_are_added_and_parsed_only_when_asked(stories: Model) -> None:
    plain = stories.vocab.tokenize("<s>")
    assert 1 not in plain
    assert stories.vocab.tokenize("<s>", add_special=True).tolist() == [1, *plain]
    assert stories.vocab.tokenize("<s>", parse_special=True).tolist() == [1]
    assert stories.vocab.tokenize("").tolist() == []


def test_a_lone_surrogate_is_refused(stories: Model) -> None:
    with pytest.raises(DataError, match=r"U\+D800 at character 2"):
        stories.vocab.tokenize("a\ud800b")


def test_a_vocabulary_without_byte_tokens_refuses_and_survives(gguf_of: Gguf) -> None:
    """llama.cpp alone would end the process here."""
    with Model(gguf_of("stories-tok105", "F32")) as model:
        with pytest.raises(DataError) as caught:
            model.vocab.tokenize("A café\nin 中国, in 中")
        assert len(model.vocab.tokenize("A café")) > 0
    message = str(caught.value)
    assert r"'\n' (U+000A) at line 1, column 7" in message
    assert "4 of 18 characters" in message
    assert "3 different" in message


def _damaged(kind: str, good: bytes) -> bytes:
    return {
        "empty": b"",
        "not gguf": b"hello, world " * 99,
        "cut in the tensors": good[:-1],
        "cut in the header": good[:5000],
        "unknown architecture": good.replace(
            b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0llxma", 1
        ),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "failed to read magic"),
        ("not gguf", "invalid magic characters: 'hell'"),
        ("cut in the tensors", "not within the file bounds"),
        ("cut in the header", "failed to read key-value pairs"),
        ("unknown architecture", "unknown model architecture: 'llxma'"),
    ],
)
def test_a_damaged_file_gives_llama_cpps_reason(
    kind: str, reason: str, gguf_of: Gguf, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(_damaged(kind, gguf_of("stories260K", "F32").read_bytes()))
    with pytest.raises(CheckpointError, match=reason) as caught:
        Model(bad)
    assert str(bad) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.gguf is not a file"):
        Model(tmp_path / "none.gguf")


def _batch(tokens: np.ndarray, *, sequence: int = 0, start: int = 0) -> Batch:  # type: ignore[type-arg]
    count = len(tokens)
    return Batch(
        tokens,
        positions=np.arange(start, start + count),
        sequences=np.full(count, sequence),
        outputs=np.ones(count),
    )


def test_decoding_in_steps_and_in_another_sequence_gives_the_same_logits(stories: Model) -> None:
    tokens = stories.vocab.tokenize("Once upon a time there was a dog", add_special=True)
    options = ContextOptions(n_ctx=64, threads=2, n_seq=2)
    with LlamaContext(stories, options) as context:
        whole = context.decode(_batch(tokens)).copy()
        assert whole.shape == (len(tokens), 512)
        context.clear()
        context.decode(_batch(tokens[:4], sequence=1))
        rest = context.decode(_batch(tokens[4:], sequence=1, start=4))
        np.testing.assert_allclose(rest, whole[4:], atol=2e-3)
        assert rest.base is not None
        assert not rest.flags.writeable


def test_only_the_wanted_rows_come_back(stories: Model) -> None:
    tokens = stories.vocab.tokenize("Once upon a time", add_special=True)
    with LlamaContext(stories, ContextOptions(n_ctx=64, threads=1)) as context:
        whole = context.decode(_batch(tokens)).copy()
        context.clear()
        some = Batch(
            tokens,
            positions=np.arange(len(tokens)),
            sequences=np.zeros(len(tokens)),
            outputs=np.arange(len(tokens)) == 2,
        )
        np.testing.assert_allclose(context.decode(some), whole[2:3], atol=2e-3)


def test_tokens_of_another_vocabulary_are_refused(stories: Model) -> None:
    with (
        LlamaContext(stories, ContextOptions(n_ctx=64, threads=1)) as context,
        pytest.raises(DataError, match=r"token ids 5 to 512 .* vocabulary has 512"),
    ):
        context.decode(_batch(np.array([5, 512])))


def test_more_tokens_than_the_cache_holds_are_refused(stories: Model) -> None:
    with LlamaContext(stories, ContextOptions(n_ctx=256, threads=1, n_batch=512)) as context:
        context.decode(_batch(np.full(256, 5)))
        with pytest.raises(StageError, match="does not fit into the KV cache"):
            context.decode(_batch(np.full(64, 5), start=256))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UsageError, match="type_v=q8_0 needs flash attention"):
        ContextOptions(n_ctx=64, threads=1, type_v="q8_0", flash_attention="off")
    with pytest.raises(UsageError, match="type_k: no KV cache type 'q8'; did you mean 'q8_0'"):
        ContextOptions(n_ctx=64, threads=1, type_k="q8")
    with pytest.raises(UsageError, match="n_ctx is 0"):
        ContextOptions(n_ctx=0, threads=1)


def test_a_quantized_cache_changes_the_logits_a_little(gguf_of: Gguf) -> None:
    with Model(gguf_of("tinystories-d256", "F16")) as model:
        tokens = model.vocab.tokenize("once upon a time there was a dog", add_special=True)
        logits = {}
        for name in ("f16", "q8_0"):
            options = ContextOptions(n_ctx=64, threads=2, type_k=name, type_v=name)
            with LlamaContext(model, options) as context:
                logits[name] = context.decode(_batch(tokens)).copy()
    apart = np.abs(logits["f16"] - logits["q8_0"]).max()
    assert 0 < apart < 1
