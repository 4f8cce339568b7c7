"""The arithmetic of the quantizers, compiled by numba; imported when the first one is asked for.

K-quants work in lanes: 64 sub-blocks are quantized at once, lane by lane side by side, so that the
compiler's SIMD works across sub-blocks while the float additions inside one keep the order of
ggml's C loops.
That order, and float32 throughout, is what makes the bytes equal; nothing here may be reordered,
and no product may be fused with a sum.

Arrays of lanes are flat: weight ``i`` of lane ``k`` is at ``i * LANES + k``. A "state" holds one
row of LANES numbers per quantity, at the offsets that its module names.
"""
