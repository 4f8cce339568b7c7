"""A checkpoint, its GGUF file and that file dequantized: the same texts, ended at the same tokens,
and the same prompts."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qpipe.gguf.convert import convert

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
TURN, SPARE = "<end_of_turn>", "<unused0>"
CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}" + TURN + "{% endfor %}"
    "{% if add_generation_prompt %}{{ strftime_now('%d %b %Y') }} she{% endif %}"
)

pytestmark = [
    pytest.mark.xdist_group("tasks-generation"),
    pytest.mark.slow,
    # torch's, transformers' and datasets' own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning"),
]


def turning(folder: Path) -> Path:
    """tinystories-d256 that ends sentences as gemma-it ends turns: by a token that is not EOS.

    generation_config.json lists both, and has what would make other texts than greedy ones.
    """
    pb: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    shutil.copytree(MODEL, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    dot, quoted = vocab.pop("."), vocab.pop('."')
    vocab |= {TURN: dot, SPARE: quoted}
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = [pair for pair in merges if "." not in "".join(pair)]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = {**flags, "content": TURN, "special": True}
    tokenizer["added_tokens"].append({"id": dot, **added})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    pieces = pb.ModelProto.FromString((folder / "tokenizer.model").read_bytes())
    kinds = pb.ModelProto.SentencePiece.Type
    for index, text, kind in ((dot, TURN, kinds.CONTROL), (quoted, SPARE, kinds.USER_DEFINED)):
        pieces.pieces[index].piece, pieces.pieces[index].type = text, kind
    (folder / "tokenizer.model").write_bytes(pieces.SerializeToString())

    edit(folder / "config.json", eos_token_id=[2, dot])
    edit(
        folder / "generation_config.json",
        eos_token_id=[2, dot], repetition_penalty=3.0, max_new_tokens=3, no_repeat_ngram_size=1,
    )  # fmt: skip
    edit(
        folder / "tokenizer_config.json",
        added_tokens_decoder={str(dot): added}, chat_template=CHAT,
    )  # fmt: skip
    return folder


def edit(path: Path, **fields: Any) -> None:
    was = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(was | fields))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The same weights three ways."""
    from qpipe.evaluators.harness.checkpoints import open_checkpoint
    from qpipe.evaluators.harness.gguf import GgufLM

    folder = turning(tmp_path_factory.mktemp("models") / "turning")
    alone = tmp_path_factory.mktemp("gguf")
    convert(folder, alone / "m.gguf", outtype="F32")
    exact: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "flash_attention": "off"}
    with ExitStack() as stack:
        ways = {
            name: open_checkpoint(path, threads=2, date="2031-02-03", stack=stack)[0]
            for name, path in (("checkpoint", folder), ("dequantized", alone))
        }
        gguf = GgufLM(alone / "m.gguf", threads=2, date="2031-02-03", **exact)
        ways["gguf"] = stack.enter_context(gguf)
        yield ways


def requests(*args: tuple[Any, ...]) -> list[Any]:
    return [SimpleNamespace(args=each) for each in args]


PROMPTS = (
    "once upon a time there was a little", "the dog was very", "she said that",
    "one day a boy named tim", "the big bear wanted to", "", " once",
)  # fmt: skip


@pytest.mark.parametrize("until", [["\n\n"], ["the", "\n\n"], []])
def test_texts_end_at_the_same_place(models: dict[str, Any], until: list[str]) -> None:
    how = {"until": until, "max_gen_toks": 24, "do_sample": False}
    asked = [(prompt, how) for prompt in PROMPTS]
    texts = {name: lm.generate_until(requests(*asked)) for name, lm in models.items()}
    assert texts["checkpoint"] == texts["gguf"] == texts["dequantized"]
    assert len({len(text.split()) for text in texts["gguf"]}) > 1
    assert all(TURN not in text for text in texts["gguf"])


def test_log_probabilities_agree(models: dict[str, Any]) -> None:
    """transformers' own reading of the file, without BOS, is off by more than one nat."""
    asked = [("once upon a time there was a little", " girl"), ("", "she said"), ("a ", "dog")]
    found = {
        name: [value for value, _ in lm.loglikelihood(requests(*asked))]
        for name, lm in models.items()
    }
    assert found["gguf"] == pytest.approx(found["checkpoint"], abs=1e-3)
    assert found["dequantized"] == pytest.approx(found["checkpoint"], abs=1e-3)


def test_prompts_in_the_chat_template_are_the_same_on_any_day(models: dict[str, Any]) -> None:
    turns = [{"role": "user", "content": "tell me"}, {"role": "assistant", "content": "once "}]
    for prompt, wanted in (
        (True, f"<s>user: tell me{TURN}assistant: once {TURN}03 Feb 2031 she"),
        (False, f"<s>user: tell me{TURN}assistant: once "),
    ):
        shown = {lm.apply_chat_template(turns, prompt) for lm in models.values()}
        assert shown == {wanted}
        ids = {tuple(lm.tok_encode(wanted)) for lm in models.values()}
        assert len(ids) == 1


def test_settings_that_one_backend_would_pass_over_are_refused(models: dict[str, Any]) -> None:
    from qpipe.errors import DataError

    how = {"until": [], "max_gen_toks": 4, "repetition_penalty": 1.1}
    for lm in models.values():
        with pytest.raises(DataError, match=r"repetition_penalty=1\.1 is asked of generation"):
            lm.generate_until(requests(("a", how)))


def test_lm_eval_puts_the_same_conversations(models: dict[str, Any], tmp_path: Path) -> None:
    from qpipe.evaluators.harness.evaluation import EvaluationOptions, run
    from qpipe.evaluators.harness.loader import load
    from tests.evaluators.tasks import STORIES

    how = EvaluationOptions(limit=3, chat_template=True, system_instruction="be kind")
    found: dict[str, Any] = {}
    for name, lm in models.items():
        loaded = load(
            ["stories", "stories_next"],
            include_path=STORIES,
            trusted=None,
            num_fewshot=1,
            gen_kwargs=None,
        )
        result = run(lm, loaded, how, journal=tmp_path / f"{name}.jsonl", progress=_silent)
        found[name] = [
            (sample["prompt_hash"], [answers[0] for answers in sample["resps"]])
            for task in ("stories", "stories_next")
            for sample in result["samples"][task]
        ]
    for name in ("dequantized", "gguf"):
        for (prompt, ours), (also, theirs) in zip(found[name], found["checkpoint"], strict=True):
            assert prompt == also
            if isinstance(theirs[0], str):
                assert ours == theirs
            else:
                assert [v for v, _ in ours] == pytest.approx([v for v, _ in theirs], abs=1e-3)


def _silent(done: int, total: int, unit: str) -> None:
    pass
