"""Text models inside of checkpoints that also see or hear: their config, names, and what is left.

The fields of the text model stand in config.json's ``text_config`` (`Config.text`), its tensors
below ``language_model.``; GGUF has the towers for images and sound in a file of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Field, Fields

_NAMES = """
text_config vision_config audio_config image_token_id video_token_id audio_token_id
vision_start_token_id vision_end_token_id image_token_index video_token_index audio_token_index
boi_token_id eoi_token_id boa_token_id eoa_token_id boi_token_index eoi_token_index
mm_tokens_per_image vision_soft_tokens_per_image audio_soft_tokens_per_image
projector_hidden_act spatial_merge_size vision_feature_layer vision_feature_select_strategy
multimodal_projector_bias
"""
FIELDS: Fields = dict.fromkeys(_NAMES.split(), Field())
"""What such a config.json has beside the text model's fields."""

TOWERS: Mapping[str, str] = {
    r"(model\.)?(visual|vision_tower|vision_model|audio_tower|multi_modal_projector|embed_vision"
    r"|embed_audio|vision_embedder)\.": "the towers for images and sound,"
    " which GGUF has in a file of their own (model.mmproj=true makes it)"
}


def renamed(name: str, config: Config) -> str:
    """The name of a tensor in the text model's own checkpoint."""
    return name.replace("language_model.", "")


def towers(config: Config) -> Mapping[str, str]:
    """The tensors that are no part of the text model."""
    return TOWERS
