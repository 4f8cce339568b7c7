"""The native GGUF side: checkpoint → GGUF, GGUF → quantized GGUF, and a look inside either.

- `convert.convert`: a Hugging Face checkpoint to one F32, F16 or BF16 file
- `quantize.quantize`: such a file to a quantized one, as llama-quantize would make it
- `inspect.inspect`: what a checkpoint of either kind holds, without loading weights

Rooms: `arch/` one file per architecture, `vocab/` one per kind of tokenizer, `quantizers/` one
per family of types; each is found by its file name. Nothing here knows of recipes or stages.
"""
