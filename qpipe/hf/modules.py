"""The modules that whatever opens a checkpoint or its tokenizer imports, which takes seconds."""

MODULES = (
    "torch",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.auto.modeling_auto",
)
