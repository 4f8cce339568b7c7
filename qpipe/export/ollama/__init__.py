"""What Ollama takes beside a GGUF file: a Modelfile, with the chat template as a Go template."""
