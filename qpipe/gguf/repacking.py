"""Types whose matrices llama.cpp lays out anew for the processor when it loads a model.

The file stays mapped beside them: its pages are not read again, and the kernel takes them back
where memory is short, but until then they are resident.
Source: ggml 0.26.0, src/ggml-cpu/repack.cpp (ggml_repack_get_optimal_repack_type).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from qpipe.gguf.types import GGMLType

_TABLE = "token_embd.weight"  # rows are looked up in it, which needs them as they are
# By type, the features of a processor one of which is enough, as /proc/cpuinfo names them.
_ARM = ("i8mm", "asimddp")
_FEATURES: Mapping[GGMLType, tuple[str, ...]] = {
    GGMLType.Q4_0: ("avx2", *_ARM),
    GGMLType.Q4_K: ("avx2", *_ARM),
    GGMLType.Q2_K: ("avx512f",),
    GGMLType.Q5_K: _ARM,
    GGMLType.Q6_K: _ARM,
    GGMLType.IQ4_NL: ("avx2", "asimddp"),
    GGMLType.MXFP4: ("avx2", "asimddp"),
    GGMLType.Q8_0: _ARM,
}


def repacked_bytes(
    sizes: Mapping[str, int], kinds: Mapping[str, GGMLType], features: Collection[str]
) -> int:
    """Bytes of the tensors, by name, that a processor with these features has repacked."""
    known = {kind for kind, any_of in _FEATURES.items() if not set(any_of).isdisjoint(features)}
    return sum(
        size
        for name, size in sizes.items()
        if name != _TABLE and name.endswith(".weight") and kinds.get(name) in known
    )
