"""Bytes of GGUF files on the hub, as their repositories list them: (model, type, bytes).

Made by llama.cpp's own tools, most of them by bartowski, TheBloke (Llama 2, Mistral), ggml-org
(gpt-oss, Gemma 3 and 4, SmolLM3, Ministral 3 in Q8_0), Mistral, Qwen, unsloth (Qwen3-30B),
mradermacher (DeepSeek) and Hugging Face, Ai2 and Liquid AI (SmolLM2, OLMo 2, LFM2.5).
"""

FILES = (
    ("meta-llama/Llama-2-7b-chat-hf", "Q4_K_M", 4081004224),
    ("meta-llama/Llama-2-7b-chat-hf", "Q8_0", 7161089728),
    ("meta-llama/Llama-2-13b-chat-hf", "Q4_K_M", 7865956224),
    ("mistralai/Mistral-7B-Instruct-v0.2", "Q4_K_M", 4368439584),
    ("mistralai/Mistral-7B-Instruct-v0.3", "Q4_K_M", 4372812000),
    ("mistralai/Mistral-Nemo-Instruct-2407", "Q4_K_M", 7477208192),
    ("meta-llama/Llama-3.1-8B-Instruct", "Q4_K_M", 4920739232),
    ("meta-llama/Llama-3.2-3B-Instruct", "Q4_K_M", 2019377696),
    ("Qwen/Qwen2.5-7B-Instruct", "Q4_K_M", 4683074240),
    ("Qwen/Qwen3-30B-A3B", "Q4_K_M", 18556686912),
    ("google/gemma-2-2b-it", "Q4_K_M", 1708582752),
    ("google/gemma-3-1b-it", "Q4_K_M", 806058240),
    ("google/gemma-3-12b-it", "Q4_K_M", 7300574976),
    ("microsoft/phi-4", "Q4_K_M", 9053114816),
    ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "Q4_K_M", 1055609536),
    ("HuggingFaceTB/SmolLM3-3B", "Q4_K_M", 1915305312),
    ("allenai/OLMo-2-1124-7B-Instruct", "Q4_K_M", 4472020256),
    ("LiquidAI/LFM2.5-1.2B-Instruct", "Q4_K_M", 730895168),
    ("deepseek-ai/DeepSeek-V2-Lite", "Q4_K_M", 10364416736),
    ("google/gemma-2b-it", "Q8_0", 2669351840),
    ("mistralai/Ministral-3-8B-Reasoning-2512", "Q4_K_M", 5198910368),
    ("mistralai/Ministral-3-8B-Reasoning-2512", "Q8_0", 9028867840),
    ("google/gemma-4-26B-A4B-it", "Q8_0", 26859854048),
    ("openai/gpt-oss-20b", "MXFP4_MOE", 12109566560),
)
