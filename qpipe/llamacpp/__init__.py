"""llama.cpp in this process: ctypes on the C API that the xllamacpp wheel exports.

No compiler and no server are needed: the wheel's shared object exports llama.h's functions on
Linux and macOS. Structs pass by value there, so their layout must be the library's own:
``structs`` is written for one version of the wheel, ``library`` refuses every other.

``structs``    struct layouts, known defaults and the versions they belong to
``functions``  prototypes of the C functions in use
``library``    finds the shared object, checks it, loads it once
``log``        keeps llama.cpp's last complaints for error messages
``coverage``   which characters a vocabulary cannot write (llama.cpp dies of them)
``model``      a GGUF file and its vocabulary
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
