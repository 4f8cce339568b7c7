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

MADE_BY_WORKERS = (
    *(RTN, *FOUR.values(), *EIGHT.values(), *LEARNED.values(), GGUF, LEARNED_GGUF, GPTQ_RULED),
)
# GPTQModel reads what has rules itself, and patches transformers: such a one comes last.
MEASURED = (*MADE_BY_WORKERS[:-1], RTN_RULED, *SKIPPED.values(), GPTQ_RULED)
