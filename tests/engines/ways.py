"""The ways of quantizing that the tests of engines share: each is made once a session."""

from __future__ import annotations

RTN = ("quantize=rtn",)
# AutoRound steps by 1 / iters of the distance between two levels, always: after eight steps most of
# what it learned is the steps' size, and it is worse than rounding. From 32 on it is better. A step
# has half of the samples: which ones come first hangs on the state of the random numbers, which one
# that goes on after a kill has to restore.
LEARN = ("quantize=autoround", "quantize.iters=32", "quantize.batch_size=4")
FOUR = {
    "GPTQ-4bit-g128": ("quantize=gptq",),
    "GPTQ-4bit-g128-actorder": ("quantize=gptq", "quantize.desc_act=true"),
    "W4A16-g128": ("quantize=gptq", "quantize.engine=llmcompressor"),
    "AWQ-4bit-g128": ("quantize=awq",),
    "bnb-NF4": ("quantize=bnb",),
}
LEARNED = {
    "GPTQ-4bit-g128": LEARN,
    "AWQ-4bit-g128": (*LEARN, "quantize.format=auto_awq"),
}
EIGHT = {
    "W8A8": ("quantize=int8", "quantize.engine=llmcompressor", "quantize.scheme=w8a8"),
    "bnb-INT8": ("quantize=bnb", "quantize.type=int8"),
    "ao-W8A16": ("quantize=int8",),
}
GGUF = ("quantize=gguf", "quantize.type=Q4_K_M")
LEARNED_GGUF = (*LEARN, "quantize.format=gguf:q4_k_m")
_RULES = "quantize.modules={down_proj: {bits: 8, group_size: 64}, q_proj: skip}"
GPTQ_RULED = ("quantize=gptq", _RULES)
RTN_RULED = ("quantize=rtn", _RULES)
SKIPPED = {
    how: (how, "quantize.modules={layers.0.: skip}") for how in ("quantize=int8", "quantize=bnb")
}

# Of each engine and method, as users have it: all others are made by the process that measures.
GPTQ, AWQ, NF4 = FOUR["GPTQ-4bit-g128"], FOUR["AWQ-4bit-g128"], FOUR["bnb-NF4"]
SWEPT = {way[0].removeprefix("quantize="): way for way in (RTN, GPTQ, AWQ, NF4, EIGHT["ao-W8A16"])}
MADE_BY_WORKERS = (*SWEPT.values(), LEARN, GPTQ_RULED)
# GPTQModel reads what has rules itself, and patches transformers: what it makes and reads is last.
LAST = (FOUR["GPTQ-4bit-g128-actorder"], GPTQ_RULED)
MEASURED = (
    *MADE_BY_WORKERS[:-1],
    *(way for way in (*FOUR.values(), *EIGHT.values()) if way not in (*MADE_BY_WORKERS, *LAST)),
    *(RTN_RULED, *SKIPPED.values(), LEARNED["AWQ-4bit-g128"], GGUF, LEARNED_GGUF, *LAST),
)
# Of a copy of the model whose config.json asks for a package that is not here; and of such a copy
# of GPTQ_RULED's.
WISHED: tuple[tuple[str, ...], ...] = (("wish", "quantize=rtn"), ("wish", "quantize=bnb"))
WISHED_PACKED: tuple[str, ...] = ("wish", "quantize=none", "quantize.dtype=source")
