"""Published GGUF files derived again from their source, and compared tensor by tensor.

Nothing is written: each chunk of the source's rows is read once, quantized once for all files that
have the tensor in the same type, and compared with their bytes.
"""
