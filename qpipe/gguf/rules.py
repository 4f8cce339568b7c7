"""The rules of the quantization names: which tensors get more or fewer bits than the others.

Source of every rule: llama.cpp 0.5.0, src/llama-quant.cpp, llama_tensor_get_type_impl; a method
here is one branch there. The order of tests is the C's own, since the first that holds counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from qpipe import errors
from qpipe.gguf.categories import Category, category_of
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.hyperparameters import Hyperparameters
from qpipe.gguf.types import GGMLType

_T = GGMLType

# Files below three bits, which have rules of their own.
_SMALLEST = ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ2_S", "IQ2_M", "IQ1_M")
_SMALL_2S = ("IQ2_S", "IQ2_M")

_EMBEDDING = {
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"), _T.Q2_K),
    **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), _T.IQ3_S),
    **dict.fromkeys(("TQ1_0", "TQ2_0"), _T.Q4_K),
}
_KEY_AND_QUERY = {"IQ3_XS": _T.IQ3_XXS, "IQ3_XXS": _T.IQ2_S}
_VALUE_GROUPED = {
    **dict.fromkeys(("Q2_K", "Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_S"), _T.Q4_K),
    **dict.fromkeys(("IQ4_NL", "IQ4_XS"), _T.Q5_K),
}
_VALUE = {"Q2_K": _T.Q3_K, "IQ3_M": _T.Q4_K, "Q3_K_L": _T.Q5_K}
_ATTENTION_OUTPUT = {
    "Q2_K": _T.Q3_K, "IQ3_XXS": _T.IQ3_S, "Q3_K_M": _T.Q4_K, "Q3_K_L": _T.Q5_K, "IQ3_M": _T.Q4_K,
}  # fmt: skip
_ATTENTION_OUTPUT_8_EXPERTS = (
    *("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL"),
    *("Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS"),
)


class Rules:
    """The types of one file's tensors, asked for in the file's order, which llama.cpp counts."""

    def __init__(
        self,
        ftype: FileType,
        model: Hyperparameters,
        names: Sequence[str],
        *,
        has_imatrix: bool,
        output: GGMLType | None,
    ) -> None:
        self.name = ftype.name
        self.default = ftype.default
        self.model = model
        self.falcon = model.arch == "falcon"
        self.has_imatrix = has_imatrix
        self.output = output
        self.n_values = sum(category_of(name) is Category.VALUE for name in names)
        self.met: Counter[Category] = Counter()

    def type_of(self, name: str, shape: Sequence[int]) -> GGMLType:
        """The type that the next tensor is to have, before `mixture.fallback`.

        Raises `CheckpointError` for an expert without the number of its layer.
        """
        category = category_of(name)
        kind = self._kind(name, shape, category)
        self.met[category] += 1
        return kind

    def _kind(self, name: str, shape: Sequence[int], category: Category) -> GGMLType:
        if self._is_wide(name):
            return _T.Q8_0
        if category is Category.OUTPUT or (self.model.tied and category is Category.EMBEDDING):
            return self.output or self._output(shape[-1])
        if self.name == "MXFP4_MOE":
            return self._mxfp4(shape, category)
        if category is Category.EMBEDDING:
            return _EMBEDDING.get(self.name, self.default)
        if self.name in _SMALLEST:
            return self._smallest(category) or self.default
        if category is Category.VALUE:
            return self._value()
        if category in (Category.KEY, Category.QUERY):
            return self._key_or_query(category)
        if category is Category.ATTENTION_OUTPUT:
            return self._attention_output() or self.default
        if category is Category.DOWN:
            return self._down(*self._layer(name, category)) or self.default
        if category in (Category.GATE, Category.UP):
            layer, layers = self._layer(name, category)
            middle = layers // 8 <= layer < 7 * layers // 8
            return _T.IQ3_XXS if self.name == "IQ3_XS" and middle else self.default
        return self.default

    def _is_wide(self, name: str) -> bool:
        parts = ("attn_q_a", "attn_q_b", "nextn.eh_proj")
        return self.model.arch == "glm5-next" and any(part in name for part in parts)

    def _output(self, n_per_row: int) -> GGMLType:
        if self.name == "MXFP4_MOE" or self.falcon or not self.default.fits(n_per_row):
            return _T.Q8_0
        if self.name in _SMALLEST or self.name == "IQ3_XXS":
            return _T.Q5_K
        return _T.Q8_0 if self.default == _T.Q8_0 else _T.Q6_K

    def _mxfp4(self, shape: Sequence[int], category: Category) -> GGMLType:
        experts = len(shape) > 2 and shape[-3] > 1
        if self.model.arch == "bailingmoe3":
            experts &= category in (Category.UP, Category.GATE, Category.DOWN)
        return _T.MXFP4 if experts else _T.Q8_0

    def _smallest(self, category: Category) -> GGMLType | None:
        more = _T.IQ3_S if self.name in _SMALL_2S else _T.Q2_K
        if category is Category.VALUE:
            return _T.Q4_K if self.model.heads_per_kv >= 4 or self.model.experts >= 4 else more
        if category is Category.DOWN:
            return more if self.met[category] < self.model.layers // 8 else None
        if category is Category.KEY:
            return _T.Q4_K if self.model.experts == 8 else None
        if category is Category.ATTENTION_OUTPUT:
            if self.model.experts == 8:
                return _T.Q5_K
            special = {"IQ1_S": _T.IQ2_XXS, "IQ1_M": _T.IQ2_XXS, **dict.fromkeys(_SMALL_2S, more)}
            return special.get(self.name)
        return None

    def _value(self) -> GGMLType:
        if self.model.experts == 8:
            return _T.Q8_0
        kind = self._value_by_name()
        return _T.Q5_K if self.model.is_70b and kind in (_T.Q3_K, _T.Q4_K) else kind

    def _value_by_name(self) -> GGMLType:
        met = self.met[Category.VALUE]
        if self.model.heads_per_kv >= 4 and self.name in _VALUE_GROUPED:
            return _VALUE_GROUPED[self.name]
        if self.name == "IQ3_XXS":
            return _T.IQ3_XXS if self.has_imatrix else _T.IQ3_S
        if self.name == "Q3_K_M":
            return _T.Q5_K if met < 2 else _T.Q4_K
        if self.name in ("Q4_K_M", "Q5_K_M") and _more_bits(met, self.n_values):
            return _T.Q6_K
        if self.name == "Q4_K_S" and met < 4:
            return _T.Q5_K
        return _VALUE.get(self.name, self.default)

    def _key_or_query(self, category: Category) -> GGMLType:
        if category is Category.KEY and self.model.experts == 8:
            return _T.Q8_0
        return _KEY_AND_QUERY.get(self.name, self.default)

    def _attention_output(self) -> GGMLType | None:
        if self.falcon:
            return _T.Q4_K if self.name == "Q3_K_L" else None
        if self.model.experts == 8:
            return _T.Q5_K if self.name in _ATTENTION_OUTPUT_8_EXPERTS else None
        return _ATTENTION_OUTPUT.get(self.name)

    def _down(self, layer: int, layers: int) -> GGMLType | None:
        if self.falcon and self.name in _DOWN_IN_FALCON:
            return self._down_in_falcon(layer, layers)
        first, more = layer < layers // 8, _more_bits(layer, layers)
        cases: Mapping[str, GGMLType | None] = {
            "Q2_K": _T.Q3_K,
            "Q2_K_S": _T.Q4_K if first else None,
            "IQ3_XXS": None if self.has_imatrix else _T.Q4_K if first else _T.Q3_K,
            "Q3_K_M": _T.Q5_K if layer < layers // 16 else _T.Q4_K,
            "IQ3_M": _T.Q4_K if first or (self.model.experts == 8 and more) else None,
            "Q3_K_L": _T.Q5_K,
            "Q4_K_M": _T.Q6_K if more else None,
            "IQ4_NL": _T.Q5_K if first and not self.has_imatrix else None,
            "IQ4_XS": _T.Q5_K if first and not self.has_imatrix else None,
            "Q5_K_M": _T.Q6_K if more else None,
            "Q4_K_S": _T.Q5_K if first else None,
            "Q4_0": _T.Q4_1 if first and self.has_imatrix else None,
            "Q5_0": _T.Q5_1 if first and self.has_imatrix else None,
        }
        return cases.get(self.name)

    def _down_in_falcon(self, layer: int, layers: int) -> GGMLType | None:
        first, more = layer < layers // 16, _more_bits(layer, layers)
        return {
            "Q3_K_M": _T.Q5_K if first else _T.Q4_K if more else _T.Q3_K,
            "Q3_K_L": _T.Q4_K,
            "Q4_K_M": _T.Q6_K if first else _T.Q5_K if more else _T.Q4_K,
            "Q4_K_S": None,
        }[self.name]

    def _layer(self, name: str, category: Category) -> tuple[int, int]:
        """(layer, layers): by name where there are experts, which come in no order."""
        if self.model.experts <= 1:
            return self.met[category], self.model.layers
        numbered = re.match(r"blk\.(\d+)\.", name)
        if numbered is None or int(numbered[1]) >= self.model.layers:
            raise errors.CheckpointError(
                f"tensor {name!r}: its name does not begin with 'blk.N.', N one of the model's "
                f"{self.model.layers} layers; convert the model again"
            )
        return int(numbered[1]), self.model.layers


_DOWN_IN_FALCON = ("Q3_K_M", "Q3_K_L", "Q4_K_M", "Q4_K_S")


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between (use_more_bits)."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
