"""The sentences of docs/choosing.md and its Chinese twin that are no rules."""

from __future__ import annotations

from collections.abc import Mapping

INTRODUCTION: Mapping[str, str] = {
    "en": """\
# Choosing a format

In Chinese: [选择量化格式](choosing.zh.md). `qpipe advise --pages docs` writes both pages from
`qpipe/advice/rules.yaml`, by which `qpipe advise` ranks too; a test compares.

For a model and a machine, ask:

    qpipe advise Qwen/Qwen3-8B                                  # on this machine
    qpipe advise Qwen/Qwen3-8B --gpu "RTX 4090" --ram 32GB      # on one that you describe
    qpipe advise ./checkpoint --ram 8GB --runtime ollama --ctx 16384
    qpipe advise Qwen/Qwen3-8B --gpu H100 --runtime vllm --batch 32 --min-quality accuracy=99%

It prints formats, best first, each with the size of its files, the memory that it takes when it
runs, what it is known to lose, how fast it can be at most, why it stands there, what it gives up,
and the command that makes it. Nothing is run, and of a repository only config.json and the
tokenizer are fetched. The numbers in brackets are the [sources](#sources).""",
    "zh": """\
# 选择量化格式

英文版：[Choosing a format](choosing.md)。两页都由 `qpipe advise --pages docs` 根据
`qpipe/advice/rules.yaml` 生成，`qpipe advise` 排序用的也是这份规则；有测试保证页面是最新的。

针对具体的模型和机器，直接问：

    qpipe advise Qwen/Qwen3-8B                                  # 就在这台机器上
    qpipe advise Qwen/Qwen3-8B --gpu "RTX 4090" --ram 32GB      # 在你描述的机器上
    qpipe advise ./checkpoint --ram 8GB --runtime ollama --ctx 16384
    qpipe advise Qwen/Qwen3-8B --gpu H100 --runtime vllm --batch 32 --min-quality accuracy=99%

它按从好到差列出各种格式，每种都给出文件大小、运行时占用的内存、已知的质量损失、速度上限、
排在这里的理由、要付出的代价，以及制作它的命令。整个过程不运行任何模型；对 Hub 上的仓库，
只下载 config.json 和分词器。方括号里的数字是[来源](#来源)的编号。""",
}

TITLES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "cpu": "On a CPU",
        "gpu": "On a GPU of your own",
        "server": "Serving with vLLM",
        "runtime": "Ollama and transformers",
        "hardware": "What the hardware must have",
        "quality": "Quality and size",
        "lever": "Levers, where memory or speed is short",
    },
    "zh": {
        "cpu": "只有 CPU",
        "gpu": "自己的显卡",
        "server": "用 vLLM 提供服务",
        "runtime": "Ollama 和 transformers",
        "hardware": "对硬件的要求",
        "quality": "质量与大小",
        "lever": "内存或速度不够时的办法",
    },
}

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "type": "type",
        "plain": "without importance matrix",
        "imatrix": "with one",
        "sources": "Sources",
    },
    "zh": {
        "type": "类型",
        "plain": "不用重要性矩阵",
        "imatrix": "用重要性矩阵",
        "sources": "来源",
    },
}

LOSSES: Mapping[str, str] = {
    "en": """\
## What is lost

KL divergence from the 16-bit model on WikiText-2, in nats a token, as published of Llama 3 8B
(`recipes/published/llamacpp-perplexity-llama-3-8b.yaml`). Of another model it is an indication:
the order of the types mostly holds, the figures do not.""",
    "zh": """\
## 损失多少

下表是 Llama 3 8B 公布的结果：在 WikiText-2 上与 16 位模型的 KL 散度，单位是每个词元的纳特
（`recipes/published/llamacpp-perplexity-llama-3-8b.yaml`）。换一个模型，它只能当参考：
各类型的先后大体不变，数值会变。""",
}

ORDER: Mapping[str, str] = {
    "en": """\
## How rows are ordered

1. What a rule excludes, and what does not fit, is no row; both are named with the reason.
   {system} of the RAM are left to the system, which is an assumption; {margin} of each GPU are
   left free, as llama.cpp does, and vLLM takes nine tenths of it.
2. Rules take formats up and down. Among equals the one with more bits comes first, with
   `--prefer speed` the one with fewer. `--prefer size` begins with the smallest that meets the
   floors.
3. Measurement overrules rules. Where two formats of this very model were measured alike, and the
   one that is no larger is clearly better (95 %), it comes first, and the answer names the rule
   that had it otherwise. Own runs in the store count first, then published tables. A figure of
   another model is shown as an indication and overrules nothing.
4. Where nothing was measured, there is no figure: `unknown`. The second command of an answer
   measures it.

With `--min-quality` and `--min-speed` only what is known to be good or fast enough is a row; what
is not known is named as such. Two demands that cannot both be met are refused, with both. A speed
with `<` is what reading the weights from memory allows; no runtime is faster, most are slower.""",
    "zh": """\
## 排序的依据

1. 规则排除的、放不下的，都不会列为候选，但会连同原因一起写出来。内存里给系统留 {system}，
   这是假设；每张显卡留 {margin} 不用，与 llama.cpp 一致；vLLM 占显存的九成。
2. 规则让格式上升或下降。不分高下时，位数多的在前；`--prefer speed` 时位数少的在前。
   `--prefer size` 从满足下限的最小格式开始。
3. 实测胜过规则。同一个模型的两种格式用同样的方法测过，不更大的那个又明显更好（95 %），
   它就排到前面，并写明推翻了哪条规则。先看仓库里自己跑的结果，再看公布的表格。
   别的模型的数据只作参考，不能推翻任何规则。
4. 没有测过就没有数值，只写 `unknown`。回答里的第二条命令可以补测。

用了 `--min-quality` 或 `--min-speed`，只有已知足够好、足够快的才会列出；不知道的单独写明。
两个要求无法同时满足时会拒绝，并把两个都说出来。带 `<` 的速度是读取权重的内存带宽所允许的上限：
没有运行时能更快，多数会更慢。""",
}
