"""Which type each tensor gets: the recipe's wishes, then the rules of the quantization name.

Source: llama.cpp, src/llama-quant.cpp, llama_tensor_get_type and functions named at each step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

from qpipe import errors
from qpipe.gguf import ftypes, types
from qpipe.gguf.categories import Category, category_of, quantizable
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.hyperparameters import Hyperparameters
from qpipe.gguf.like import LikeFile
from qpipe.gguf.rules import Rules
from qpipe.gguf.shortfall import Fallback, Shortfall
from qpipe.gguf.types import GGMLType

# tensor_type_fallback: where a row is no multiple of 256, the type with blocks of 32.
_FALLBACKS = {
    **dict.fromkeys(
        (
            *(GGMLType.IQ1_S, GGMLType.IQ1_M, GGMLType.IQ2_XXS, GGMLType.IQ2_XS),
            *(GGMLType.IQ2_S, GGMLType.IQ3_XXS, GGMLType.IQ3_S, GGMLType.IQ4_XS),
        ),
        GGMLType.IQ4_NL,
    ),
    **dict.fromkeys((GGMLType.Q2_K, GGMLType.Q3_K, GGMLType.TQ1_0, GGMLType.TQ2_0), GGMLType.Q4_0),
    GGMLType.Q4_K: GGMLType.Q5_0,
    GGMLType.Q5_K: GGMLType.Q5_1,
    GGMLType.Q6_K: GGMLType.Q8_0,
}

# tensor_requires_imatrix: types that are garbage without one.
_NEED_IMATRIX = frozenset(
    (
        *(GGMLType.IQ3_XXS, GGMLType.IQ2_XXS, GGMLType.IQ2_XS),
        *(GGMLType.IQ2_S, GGMLType.IQ1_M, GGMLType.IQ1_S),
    )
)

Override = tuple[re.Pattern[str], GGMLType]


class Typed(Protocol):
    """A tensor as it comes: shape in numpy order."""

    @property
    def name(self) -> str:
        """Its name in GGUF."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows…, weights per row."""

    @property
    def type(self) -> GGMLType:
        """The type that it has."""


_TensorT = TypeVar("_TensorT", bound=Typed)


@dataclass(frozen=True)
class TypeRequest:
    """The types that a recipe asks for.

    ``rules`` go before the name's own, the last that matches counts, and no other type stands in
    for theirs. ``pure`` gives every tensor
    the name's default type. ``output`` and ``embedding`` are the types of the output matrix and
    of the token embeddings; of a tied model's one matrix ``embedding`` counts first. A tensor that
    none of these is about has its type in ``like``, if that is given, in place of the name's rules.
    """

    ftype: FileType
    rules: tuple[Override, ...] = ()
    pure: bool = False
    output: GGMLType | None = None
    embedding: GGMLType | None = None
    like: LikeFile | None = None

    @classmethod
    def of(
        cls,
        ftype: str,
        *,
        tensor_types: Mapping[str, str] | None = None,
        pure: bool = False,
        output_tensor_type: str | None = None,
        token_embedding_type: str | None = None,
        like: LikeFile | None = None,
    ) -> TypeRequest:
        """Checked names; `RecipeError` naming the field otherwise."""

        def parsed(name: str | None, where: str) -> GGMLType | None:
            return None if name is None else types.parse_type(name, where=where)

        return cls(
            ftypes.file_type(ftype),
            tuple(overrides(tensor_types or {})),
            pure,
            parsed(output_tensor_type, "output_tensor_type"),
            parsed(token_embedding_type, "token_embedding_type"),
            like,
        )

    def names(self, tensor: str) -> bool:
        """True if one of the rules is about ``tensor``, or the file whose types it shall have."""
        listed = self.like is not None and tensor in self.like.tensors
        return listed or self.rules_on(tensor)

    def rules_on(self, tensor: str) -> bool:
        """True if one of the rules is about ``tensor``."""
        return any(pattern.search(tensor) for pattern, _ in self.rules)

    def decides(self, tensor: str) -> bool:
        """True if the recipe itself says a tensor's type."""
        named = self.rules_on(tensor)
        return named or self.own_field(tensor, named=named) is not None

    def own_field(self, tensor: str, *, named: bool) -> tuple[str, GGMLType] | None:
        """The field that is about this tensor alone, and what it says; ``named``: rules name it."""
        category = category_of(tensor)
        # A rule may name this large separate table.
        second = tensor == "per_layer_token_embd.weight" and named
        if category is Category.EMBEDDING and self.embedding and not second:
            return "token_embedding_type", self.embedding
        if category is Category.OUTPUT and self.output:
            return "output_tensor_type", self.output
        return None

    def changes(self, file_type: str) -> bool:
        """True unless a file of the quantization ``file_type`` is what is asked for already."""
        return file_type != self.ftype.name or self != TypeRequest(self.ftype)


def overrides(tensor_types: Mapping[str, str]) -> list[Override]:
    """A recipe's {regular expression: type}, checked; `RecipeError` for either half."""
    checked = []
    for pattern, name in tensor_types.items():
        where = f"tensor_types[{pattern!r}]"
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise errors.RecipeError(f"{where}: no regular expression: {error}") from None
        checked.append((compiled, types.parse_type(name, where=where)))
    return checked


@dataclass(frozen=True)
class Choice:
    """The type of each tensor by name, which of them are ``matrices`` that can be quantized, and
    what is not as its rule wants it."""

    request: TypeRequest
    types: Mapping[str, GGMLType]
    fallbacks: tuple[Fallback, ...]
    matrices: tuple[str, ...]

    def shortfall(self, types: Mapping[str, GGMLType] | None = None) -> Shortfall | None:
        """Say what the file lacks of its name, if anything, where tensors are of ``types`` in
        the end (None: of those chosen)."""
        final = {name: (types or self.types)[name] for name in self.matrices}
        fallbacks = tuple(f for f in self.fallbacks if final[f.name] is f.substitute)
        named = bool(self.request.rules or self.request.like)
        return Shortfall.of(self.request.ftype, final, fallbacks, named=named)


def choose(
    tensors: Sequence[Typed],
    model: Hyperparameters,
    request: TypeRequest,
    *,
    has_imatrix: bool = False,
) -> Choice:
    """The types of ``tensors``, which come in the order of the file to be.

    Raises `RecipeError` for a wish that changes nothing (it is a typing error) or cannot be
    stored, `CheckpointError` for an expert whose name lacks its layer.
    """
    if request.like is not None:
        request.like.check(tensors, arch=model.arch, ruled=request.decides)
    chooser = _Chooser(tensors, model, request, has_imatrix=has_imatrix)
    chosen = {tensor.name: chooser.type_of(tensor) for tensor in tensors}
    chooser.check_used()
    return Choice(request, chosen, tuple(chooser.fallbacks), tuple(chooser.matrices))


def forecast(tensors: Sequence[Typed], model: Hyperparameters, request: TypeRequest) -> Choice:
    """`choose` for a model that may be another: wishes that none of its tensors hears are none."""
    chooser = _Chooser(tensors, model, request, has_imatrix=False)
    chosen = {tensor.name: chooser.type_of(tensor) for tensor in tensors}
    return Choice(request, chosen, tuple(chooser.fallbacks), tuple(chooser.matrices))


def fallback(kind: GGMLType, n_per_row: int, *, name: str = "") -> GGMLType:
    """``kind``, or what takes its place in rows of this length (tensor_type_fallback).

    Raises `RecipeError`, blaming the tensor ``name``, for a type that nothing can replace.
    """
    if kind.fits(n_per_row):
        return kind
    if kind.block > 32 and kind not in _FALLBACKS:
        raise errors.RecipeError(
            f"tensor {name!r} cannot be {kind.name}: its rows of {n_per_row} weights are no "
            f"multiple of {kind.block}, and no other type stands in; choose one in tensor_types"
        )
    smaller = _FALLBACKS.get(kind, kind)
    return smaller if smaller.fits(n_per_row) else GGMLType.F16


def needs_imatrix(name: str, kind: GGMLType, ftype: FileType) -> bool:
    """True if llama-quantize refuses to make tensor ``name`` of ``kind`` without an importance
    matrix (tensor_requires_imatrix); ``ftype`` is the file's."""
    if kind not in _NEED_IMATRIX and not (kind is GGMLType.Q2_K and ftype.name == "Q2_K_S"):
        return False
    return category_of(name) not in (Category.EMBEDDING, Category.OUTPUT)


def first_in_need(kinds: Mapping[str, GGMLType], ftype: FileType) -> str | None:
    """The first tensor that `needs_imatrix`, if there is one."""
    if _NEED_IMATRIX.isdisjoint(kinds.values()) and ftype.name != "Q2_K_S":
        return None
    return next((n for n, kind in kinds.items() if needs_imatrix(n, kind, ftype)), None)


def by_layer(tensors: Iterable[_TensorT]) -> Sequence[_TensorT]:
    """Tensors outside the layers first, then layer by layer (llama-model-loader.h,
    weight_name_comparer)."""

    return sorted(tensors, key=lambda tensor: _place(tensor.name))


@lru_cache(maxsize=1 << 14)
def _place(name: str) -> tuple[int, str]:
    layer = re.match(r"blk\.(\d+)\.", name)
    return (int(layer[1]) if layer else -1, name)


class _Chooser:
    """The wishes and rules for one file, and which of the wishes had an effect."""

    def __init__(
        self,
        tensors: Iterable[Typed],
        model: Hyperparameters,
        request: TypeRequest,
        *,
        has_imatrix: bool,
    ) -> None:
        self.model = model
        self.request = request
        names = [tensor.name for tensor in tensors]
        output = request.output
        self.standard = Rules(request.ftype, model, names, has_imatrix=has_imatrix, output=output)
        self._wishes = bool(request.rules or output or request.embedding or request.like)
        self.used: set[str] = set()
        self.overruled: dict[str, str] = {}
        self.fallbacks: list[Fallback] = []
        self.matrices: list[str] = []

    def type_of(self, tensor: Typed) -> GGMLType:
        if not quantizable(tensor.name, tensor.shape, arch=self.model.arch):
            return tensor.type
        self.matrices.append(tensor.name)
        return self._wished(tensor) if self._wishes else self._by_name(tensor)

    def _wished(self, tensor: Typed) -> GGMLType:
        """The type that the recipe says, else the name's own."""
        matching = [rule for rule in self.request.rules if rule[0].search(tensor.name)]
        own = self.request.own_field(tensor.name, named=bool(matching))
        patterns = [pattern.pattern for pattern, _ in matching]
        if own is not None:
            field, kind = own
            self.used.add(field)
            self.overruled |= dict.fromkeys(patterns, field)
            return self._fitting(kind, tensor, field)
        if matching:
            *earlier, last = patterns
            self.used.add(last)
            self.overruled |= dict.fromkeys(earlier, f"tensor_types[{last!r}], which comes later,")
            return self._fitting(matching[-1][1], tensor, f"tensor_types[{last!r}]")
        if self.request.like is not None:
            kind = self.request.like.type_of(tensor.name)
            return self._fitting(kind, tensor, f"quantize.like ({self.request.like.name})")
        return self._by_name(tensor)

    def _by_name(self, tensor: Typed) -> GGMLType:
        kind = self._unnamed(tensor)
        actual = fallback(kind, tensor.shape[-1], name=tensor.name)
        if actual != kind:
            self.fallbacks.append(Fallback(tensor.name, tensor.shape[-1], kind, actual))
        return actual

    def _unnamed(self, tensor: Typed) -> GGMLType:
        if self.request.pure or not self.request.ftype.quantized:
            return self.request.ftype.default
        if self.model.tied and category_of(tensor.name) is Category.EMBEDDING:
            self.used.add("output_tensor_type")
        return self.standard.type_of(tensor.name, tensor.shape)

    def _fitting(self, kind: GGMLType, tensor: Typed, field: str) -> GGMLType:
        if not kind.fits(tensor.shape[-1]):
            raise errors.RecipeError(
                f"{field}: {kind.name} is stored in blocks of {kind.block} weights, and "
                f"{tensor.name!r} has rows of {tensor.shape[-1]}; choose another type"
            )
        return kind

    def check_used(self) -> None:
        """Raise for wishes that no tensor heard."""
        if self.request.output and "output_tensor_type" not in self.used:
            raise errors.RecipeError(
                "output_tensor_type has no effect: the model has no tensor 'output.weight', its "
                "embeddings serve twice; say token_embedding_type instead"
            )
        if self.request.embedding and "token_embedding_type" not in self.used:
            raise errors.RecipeError(
                "token_embedding_type has no effect: the model has no tensor 'token_embd.weight'"
            )
        for pattern, _ in self.request.rules:
            if pattern.pattern in self.used:
                continue
            where = f"tensor_types[{pattern.pattern!r}]"
            if pattern.pattern in self.overruled:
                field = self.overruled[pattern.pattern]
                raise errors.RecipeError(f"{where} has no effect beside {field}: drop one")
            raise errors.RecipeError(
                f"{where} matches no tensor that can be quantized; "
                "names look like 'blk.0.ffn_down.weight' (qpipe inspect lists them)"
            )
