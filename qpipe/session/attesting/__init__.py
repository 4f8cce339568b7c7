"""`qpipe attest`: published GGUF files beside what their source makes of them."""
