"""Reference files: a reference's log-probabilities on a text, to measure other models against.

``about``    what a file says of its model, text, protocol and arithmetic
``parts``    its account of text and protocol, of the text and its windows
``layout``   which tensors are in a file, where, and how large it will be
``header``   the header as bytes, and read from bytes that anybody may have written
``writing``  a file of a reference's artifact
``reading``  a file's parts, each checked against its digests
``values``   numbers that no reference has
``vocabulary`` a file's token ids beside a model's vocabulary
``matching`` what a recipe asks for beside what a file has

The container is safetensors; docs/reference-file.md is the format for other readers.
"""
