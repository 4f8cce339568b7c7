"""llama.cpp in this process: ctypes on the C API that the xllamacpp wheel exports.

No compiler and no server are needed: the wheel's shared object exports llama.h's functions on
Linux and macOS. Structs pass by value there, so their layout must be the library's own:
``c_api`` is written for one version of the wheel, ``library`` refuses every other.

``c_api``      struct layouts, prototypes, known defaults and the versions they belong to
``library``    finds the shared object, checks it, loads it once; keeps its last complaints
``coverage``   which characters a vocabulary cannot write (llama.cpp dies of them)
``model``      a GGUF file and its vocabulary
``weights``    the weights of a loaded model, replaced
``opening``    whether a GGUF file can be loaded, tried in a process of its own
``batch``      tokens for one decode
``context``    a KV cache: batches in, logits out
``prefixes``   prompts decoded together, each token that they share once
``observe``    what a decode computes, tensor by tensor
``moments``    sums of squared activations, column by column of every weight
``importance`` an importance matrix from a text
``backend``    windows of tokens in, logits out: what evaluators use

The package imports nothing by itself; ``library`` needs the standard library alone.
"""
