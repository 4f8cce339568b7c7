"""Chat templates in the forms that families of models have, written for these tests; and what a
default system message is in each. Their BOS is <bos>, their EOS <eos>."""

from __future__ import annotations

_EACH = "{% for m in messages %}"
_LAST = "{% endfor %}{% if add_generation_prompt %}"
_HEAD = (
    "{% if messages[0].role == 'system' %}{% set sys = messages[0].content %}"
    "{% set rest = messages[1:] %}{% else %}{% set sys = '' %}{% set rest = messages %}{% endif %}"
)
_CHATML = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_TURNS = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('take turns') }}"
    "{% endif %}"
)

FAMILIES = {
    "chatml": _EACH + _CHATML + _LAST + "<|im_start|>assistant\n{% endif %}",
    "chatml with a default": (
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Owl.\n  Be kind."
        "<|im_end|>\n{% endif %}" + _EACH + _CHATML + _LAST + "<|im_start|>assistant\n{% endif %}"
    ),
    "chatml with tools": (
        _HEAD + "{% if tools %}<|im_start|>system\n{{ sys }}\n# Tools{% for t in tools %}\n"
        "{{ t | tojson }}{% endfor %}<|im_end|>\n{% elif sys %}<|im_start|>system\n{{ sys }}"
        "<|im_end|>\n{% endif %}{% for m in rest %}" + _CHATML + _LAST
        + "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
        "<think>\n\n</think>\n\n{% endif %}{% endif %}"
    ),
    "llama 2": (
        "{{ bos_token }}" + _HEAD + "{% for m in rest %}" + _TURNS + "{% if m.role == 'user' %}"
        "{% if not loop.first %}{{ bos_token }}{% endif %}[INST] {% if loop.first and sys %}<<SYS>>"
        "\n{{ sys }}\n<</SYS>>\n\n{% endif %}{{ m.content.strip() }} [/INST]{% else %}"
        " {{ m.content.strip() }} {{ eos_token }}{% endif %}{% endfor %}"
    ),
    "llama 3": (
        "{{ bos_token }}" + _HEAD + "<|start_header_id|>system<|end_header_id|>\n\nToday Date: "
        "{{ strftime_now('%d %b %Y') }}\n\n{{ sys | trim }}<|eot_id|>{% for m in rest %}"
        "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
        + _LAST + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "mistral, first": (
        "{{ bos_token }}{% for m in messages %}" + _TURNS + "{% if m.role == 'user' %}"
        "[INST] {{ m.content }} [/INST]{% else %}{{ m.content }}{{ eos_token }}{% endif %}"
        "{% endfor %}"
    ),
    "mistral, third": (
        "{{ bos_token }}" + _HEAD + "{% for m in rest %}" + _TURNS + "{% if m.role == 'user' %}"
        "[INST] {% if loop.last and rest != messages %}{{ sys }}\n\n{% endif %}{{ m.content }}"
        "[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    ),
    "gemma": (
        "{{ bos_token }}" + _HEAD + "{% for m in rest %}" + _TURNS + "<start_of_turn>"
        "{{ 'model' if m.role == 'assistant' else m.role }}\n{% if loop.first and sys %}{{ sys }}"
        "\n\n{% endif %}{{ m.content | trim }}<end_of_turn>\n" + _LAST
        + "<start_of_turn>model\n{% endif %}"
    ),
    "gemma, second": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}" + _EACH + _TURNS + "<start_of_turn>{{ 'model' if m.role == 'assistant' else "
        "m.role }}\n{{ m.content }}<end_of_turn>\n" + _LAST + "<start_of_turn>model\n{% endif %}"
    ),
    "phi": (
        _EACH + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n" + _LAST + "<|assistant|>\n{% endif %}"
    ),
    "zephyr": (
        _EACH + "<|{{ m.role }}|>\n{{ m.content ~ eos_token }}\n" + _LAST
        + "<|assistant|>\n{% endif %}"
    ),
    "deepseek": (
        "{{ bos_token }}" + _HEAD + "{{ sys }}{% for m in rest %}{% if m.role == 'user' %}"
        "<｜User｜>{{ m.content }}{% else %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}"
        "{{ eos_token }}{% endif %}" + _LAST + "<｜Assistant｜><think>\n{% endif %}"
    ),
    "command": (
        "{{ bos_token }}" + _EACH + "<|TURN|><|{{ m.role | upper }}|>{{ m.content }}<|END|>" + _LAST
        + "<|TURN|><|ASSISTANT|>{% endif %}"
    ),
    "vicuna": (
        _HEAD + "{{ sys or 'A chat with an assistant.' }} {% for m in rest %}"
        "{% if m.role == 'user' %}USER: {{ m.content }} {% else %}ASSISTANT: {{ m.content }}"
        "{{ eos_token }}{% endif %}" + _LAST + "ASSISTANT:{% endif %}"
    ),
    "alpaca": (
        _HEAD + "{{ sys }}{% if sys %}\n\n{% endif %}{% for m in rest %}{% if m.role == 'user' %}"
        "### Instruction:\n{{ m.content }}\n\n{% else %}### Response:\n{{ m.content }}\n\n"
        "{% endif %}"
        + _LAST + "### Response:\n{% endif %}"
    ),
    "odd characters": (
        _EACH + "{{ '{{' }}\u00a0\"\"\"{{ m.role }}}}\n\n{{ m.content }}{{ '{' }}" + _LAST
        + "{{ '{%' }}assistant{{ '{{' }}{% endif %}"
    ),
}  # fmt: skip

SYSTEM = {
    "chatml with a default": "You are Owl.\n  Be kind.",
    "vicuna": "A chat with an assistant.",
}

UNKNOWN = {
    "counts": _EACH + "[{{ loop.index }} {{ m.role }}]{{ m.content }}" + _LAST + "[0]{% endif %}",
    "last only": "Judge: {{ messages[-1].content }} Verdict:",
    "changes": _EACH + "{{ m.role }}: {{ m.content | upper }}\n" + _LAST + "assistant:{% endif %}",
    "names needed": "{{ guideline.strip() }}" + _EACH + "{{ m.content }}" + _LAST + "{% endif %}",
}
