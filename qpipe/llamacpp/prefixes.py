"""Many prompts decoded together, each token that they share once.

Prompts in lexicographic order differ from their neighbours as late as they can. Those of one batch
form a tree: a token that several begin with is decoded once and belongs to the sequences of all.
Between batches sequence 0 keeps the last prompt, and the next ones begin with what they have in
common with it: the examples before a question, say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import LlamaContext, LogitsArray

# The sequence that keeps the last prompt.
_KEPT = 0
# Logits of one decode take no more than this.
_LOGITS_BYTES = 256 << 20


@dataclass(frozen=True, order=True)
class Prompt:
    """Tokens for the model; logits are wanted at the last ``n_outputs`` of them (at least one)."""

    tokens: tuple[int, ...]
    n_outputs: int


@dataclass(frozen=True)
class LogitsBlock:
    """Logits of one decode [n, n_vocab], a view that the next one overwrites.

    ``places`` say whose they are: (number of the prompt, which of its wanted positions, row).
    """

    logits: LogitsArray
    places: Sequence[tuple[int, int, int]]


@dataclass
class _Tree:
    """The tokens of a batch of prompts that the cache does not have, each after its parent."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    owners: list[list[int]] = field(default_factory=list)
    uses: list[list[tuple[int, int]]] = field(default_factory=list)
    """For each token the (prompt, wanted position) that its logits are for."""

    def add(
        self, number: int, prompt: Prompt, *, owner: int, shared: list[int], start: int
    ) -> None:
        """Add prompt ``number`` from position ``start``; its first tokens are those at ``shared``.

        ``shared`` becomes the list of all its tokens.
        """
        for node in shared:
            self.owners[node].append(owner)
        for position in range(start + len(shared), len(prompt.tokens)):
            shared.append(len(self.tokens))
            self.tokens.append(prompt.tokens[position])
            self.positions.append(position)
            self.owners.append([owner])
            self.uses.append([])
        for offset in range(prompt.n_outputs):
            self.uses[shared[offset - prompt.n_outputs]].append((number, offset))

    def pieces(self, size: int, rows: int) -> Iterator[slice]:
        """Cut into runs of at most ``size`` tokens with logits at no more than ``rows``."""
        begin = used = 0
        for at, uses in enumerate(self.uses):
            if at - begin == size or (uses and used == rows):
                yield slice(begin, at)
                begin, used = at, 0
            used += bool(uses)
        yield slice(begin, len(self.tokens))


class Prefixes:
    """A context in which prompts share what they begin with.

    A batch has about ``batch`` tokens that the cache did not have. Sequence 0 is this object's,
    the others, up to ``n_sequences``, are the caller's.
    """

    def __init__(self, context: LlamaContext, *, batch: int) -> None:
        assert context.options.shared
        self.context = context
        self.batch = batch
        self.n_sequences = context.options.n_seq
        self._path: tuple[int, ...] = ()

    def take(self, prompts: Sequence[Prompt], *, most: int) -> int:
        """The number of prompts, sorted, that make one batch: at least one, at most ``most``."""
        new = len(prompts[0].tokens) - self._reused(prompts[0])
        for number in range(1, min(most, len(prompts))):
            previous, prompt = prompts[number - 1], prompts[number]
            same = _common(previous.tokens, prompt.tokens)
            new += len(prompt.tokens) - max(self._reused(prompt), same)
            if new > self.batch:
                return number
        return min(most, len(prompts))

    def decode(self, prompts: Sequence[Prompt], sequences: Sequence[int]) -> Iterator[LogitsBlock]:
        """Decode sorted prompts, one into each (empty) sequence; take every piece.

        Raises DataError and StageError as `LlamaContext.decode`.
        """
        starts = [self._reused(prompt) for prompt in prompts]
        for sequence, start in zip(sequences, starts, strict=True):
            if start:
                self.context.share(_KEPT, sequence, end=start)
        self.context.trim(_KEPT, begin=starts[-1])
        tree = self._grown(prompts, sequences, starts)
        self._path = prompts[-1].tokens
        n_vocab = self.context.model.vocab.n_tokens
        rows = max(1, _LOGITS_BYTES // (4 * n_vocab))
        for part in tree.pieces(self.context.options.n_batch, rows):
            logits = self.context.decode(_batch(tree, part))
            used = (uses for uses in tree.uses[part] if uses)
            yield LogitsBlock(
                logits, [(*use, row) for row, uses in enumerate(used) for use in uses]
            )

    def release(self, sequences: Sequence[int]) -> None:
        """Empty sequences, so that they can be given again."""
        for sequence in sequences:
            self.context.trim(sequence)

    def _reused(self, prompt: Prompt) -> int:
        """The number of tokens of the kept sequence that the prompt begins with; its wanted logits
        are computed."""
        return min(_common(self._path, prompt.tokens), len(prompt.tokens) - prompt.n_outputs)

    def _grown(
        self, prompts: Sequence[Prompt], sequences: Sequence[int], starts: Sequence[int]
    ) -> _Tree:
        tree = _Tree()
        nodes: list[int] = []
        for number, (prompt, owner, start) in enumerate(
            zip(prompts, sequences, starts, strict=True)
        ):
            # llama.cpp 0.6.0-dev lets sequences share a token only if they are equally long before
            # it.
            if number and start == starts[number - 1]:
                same = _common(prompts[number - 1].tokens, prompt.tokens)
                nodes = nodes[: max(0, same - start)]
            else:
                nodes = []
            tree.add(number, prompt, owner=owner, shared=nodes, start=start)
        for node in nodes:
            tree.owners[node].append(_KEPT)
        return tree


def cells(longest: int, *, batch: int) -> int:
    """The tokens that a context must hold for prompts of up to ``longest`` tokens."""
    return longest + max(longest, batch)


def _batch(tree: _Tree, part: slice) -> Batch:
    owners = tree.owners[part]
    return Batch(
        tree.tokens[part],
        positions=tree.positions[part],
        sequences=[owner for several in owners for owner in several],
        counts=[len(several) for several in owners],
        outputs=[bool(uses) for uses in tree.uses[part]],
    )


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """The number of tokens that two prompts begin with in common."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    low, high = 0, length
    # Slices compare at the speed of C: halve what may differ.
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
