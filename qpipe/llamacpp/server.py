"""llama-server as a source of log-probabilities: a program, a GGUF file, a port of this machine.

It has none of a prompt: its `/v1/completions` refuses ``echo`` (llama.cpp 0.2.0 to 0.6.0,
tools/server/server-common.cpp). It has those of the tokens that it generates, from the logits as
they were before any sampler, and a grammar may name tokens by their ids (grammars/README.md,
``<[1000]>``). So the text is what it is made to generate: the grammar allows nothing but the text's
next token, and the answer has the log-probability of that.

No grammar takes a token that ends a text, or begins or ends inside a character
(src/llama-grammar.cpp, ``llama_grammar_apply_impl``), nor does the server tell of the latter before
the character is whole (server-context.cpp, ``process_token``). Each of these takes a request in
which another token is generated, and the log-probabilities of all are listed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from qpipe.errors import DataError, EngineMissingError, StageError
from qpipe.llamacpp.model import Vocab
from qpipe.machine import program, tools

PROGRAM = "llama-server"

_HOST = "127.0.0.1"
_LISTENING = re.compile(r"listening on (http://\S+)")
# More than any vocabulary has.
_ALL = 1 << 24
_LEAST = -1e30
_GREEDY = {"samplers": ["top_k"], "top_k": 1, "cache_prompt": True}


class TokenLogprob(NamedTuple):
    """A token's log-probability after all before it, and whether no other token has more."""

    logprob: float
    greedy: bool


def version() -> str:
    """The version that the program on PATH prints; ``missing`` or ``unknown`` if it prints none."""
    return tools.find(PROGRAM).version


@contextmanager
def serve(
    model: Path, vocab: Vocab, *, n_ctx: int, threads: int, options: Sequence[str | int]
) -> Iterator[Server]:
    """Start the program on a GGUF file, for texts of ``n_ctx`` tokens; it ends with the block.

    Only this process can ask it: it listens on this machine alone, and wants a key. Raises what
    `program.serving` does.
    """
    key = secrets.token_hex()
    command = [
        *(PROGRAM, "-m", model, "--host", _HOST, "--port", 0, "-np", 1, "-c", n_ctx + 1),
        *("-t", threads, "-tb", threads, "--no-webui", *options),
    ]
    env = {**os.environ, "LLAMA_API_KEY": key}
    name = f"{PROGRAM} {version()}"
    with program.serving(command, name=name, env=env, ready=_address) as address:
        server = Server(address, key, vocab)
        try:
            yield server
        finally:
            server.connection.close()


def _address(line: str) -> str | None:
    match = _LISTENING.search(line)
    return match and match[1]


class Server:
    """A running llama-server, whose model has the vocabulary ``vocab``."""

    def __init__(self, address: str, key: str, vocab: Vocab) -> None:
        where = urlsplit(address)
        self.connection = HTTPConnection(where.hostname or _HOST, where.port)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._vocab = vocab
        (self._plain, *_) = vocab.tokenize("a").tolist()[-1:]

    def logprobs(self, tokens: Sequence[int], *, first: int) -> list[TokenLogprob]:
        """Log-probabilities of ``tokens[first + 1:]``, each after all tokens before it.

        Raises DataError for what is no number, EngineMissingError for a program that is too old,
        StageError for an answer that is not understood, EOFError if the program is gone.
        """
        found: list[TokenLogprob] = []
        for forced, group in groupby(
            range(first + 1, len(tokens)), lambda at: self._forces(tokens[at])
        ):
            positions = [*group]
            if forced:
                begin, end = positions[0], positions[-1] + 1
                found += self._forced(tokens[:begin], tokens[begin:end])
            else:
                found += [self._listed(tokens, at) for at in positions]
        return found

    def write(self, prompt: Sequence[int], *, limit: int, stops: Sequence[str]) -> str:
        """Return the greedy text after ``prompt``, of at most ``limit`` tokens, without its stop.

        Raises what `logprobs` does.
        """
        wish = {"prompt": [*map(int, prompt)], "n_predict": limit, "stop": [*stops]}
        answer = self._post("/completion", {**wish, **_GREEDY, "return_tokens": True})
        # Its own text (llama.cpp 0.6.0) begins with the space that SentencePiece puts in front.
        text = self._vocab.detokenize([t for t in answer["tokens"] if t not in self._vocab.ends])
        return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)]

    def _forces(self, token: int) -> bool:
        """True if a grammar can make the program generate the token."""
        piece = self._vocab.piece(token)
        try:
            piece.decode()
        except UnicodeDecodeError:
            return False
        return token not in self._vocab.ends and piece[:1] not in (b"", b"\0")

    def _forced(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[TokenLogprob]:
        answer = self._generate(prompt, tokens, n_probs=1)
        if [entry["id"] for entry in answer] != [*tokens]:
            raise StageError(
                f"{PROGRAM} {version()} generated other tokens than its grammar allowed: use a "
                "newer one, or evaluate.backend=llama.cpp"
            )
        return [_of(entry, entry["top_logprobs"][0]["id"] == entry["id"]) for entry in answer]

    def _listed(self, tokens: Sequence[int], at: int) -> TokenLogprob:
        """Find ``tokens[at]`` in the list of all, where another token is generated."""
        (answer,) = self._generate(tokens[:at], [self._plain], n_probs=_ALL)
        ranked = answer["top_logprobs"]
        (entry,) = (entry for entry in ranked if entry["id"] == tokens[at])
        return _of(entry, ranked[0]["id"] == tokens[at])

    def _generate(
        self, prompt: Sequence[int], tokens: Sequence[int], *, n_probs: int
    ) -> list[dict[str, Any]]:
        answer = self._post(
            "/completion",
            {
                "prompt": [*map(int, prompt)],
                "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in tokens),
                "n_predict": len(tokens),
                "n_probs": n_probs,
                **_GREEDY,
            },
        )
        entries: list[dict[str, Any]] = answer.get("completion_probabilities", [])
        return entries

    def _post(self, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self.connection.request("POST", path, json.dumps(fields), self._headers)
            response = self.connection.getresponse()
            body = response.read()
        except (OSError, HTTPException):
            raise EOFError from None
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise StageError(f"{PROGRAM} {version()} answered {path} with no JSON object")
        if response.status != 200:
            raise _refusal(answer)
        return answer


def _refusal(answer: Mapping[str, Any]) -> StageError | EngineMissingError:
    error = answer.get("error")
    words = str(error.get("message") if isinstance(error, dict) else error)
    if "grammar" in words.lower():
        return EngineMissingError(
            f"{PROGRAM} {version()} does not take tokens in a grammar ({words}): build a newer "
            "llama.cpp, or set evaluate.backend=llama.cpp"
        )
    return StageError(f"{PROGRAM} {version()} refused a request: {words}")


def _of(entry: Mapping[str, Any], greedy: bool) -> TokenLogprob:
    logprob = entry["logprob"]
    # It writes null for what is no number, and the smallest float for the logarithm of 0.
    if logprob is None or logprob < _LEAST:
        raise DataError(
            f"{PROGRAM} {version()} found no probability of a token ({logprob}): the model is "
            "damaged, or its quantization overflowed; evaluate.backend=llama.cpp says where"
        )
    return TokenLogprob(logprob, greedy)
