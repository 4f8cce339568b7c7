"""Hugging Face checkpoints through transformers: tokens and logits, whatever quantized them.

``backend``    windows of tokens in, logits out
``load``       a checkpoint folder or a GGUF file as a model in this process
``gptqmodel``  what GPTQModel reads in transformers' place, mended while it does
``modules``    what all of these import
``tokenizer``  a checkpoint's tokenizer as tokenizer.json has it; token ids of a text alone
``chat``       a model's chat template, rendered in ``sandbox``

torch and transformers are imported when a model is opened, never with these modules. Loading a
GPTQ or AWQ checkpoint imports gptqmodel (7.6.0), which patches transformers: open one model a
process.
"""
