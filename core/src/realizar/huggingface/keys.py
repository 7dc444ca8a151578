"""Keys of config.json: other spellings of the same field, and those that do not change what a model computes."""

from __future__ import annotations

SPELLINGS = {
    "n_embd": "hidden_size", "d_model": "hidden_size",
    "n_head": "num_attention_heads", "n_heads": "num_attention_heads",
    "n_layer": "num_hidden_layers", "n_layers": "num_hidden_layers", "n_inner": "intermediate_size",
    "ffn_hidden_size": "intermediate_size", "n_positions": "max_position_embeddings",
    "max_seq_len": "max_position_embeddings", "seq_length": "max_position_embeddings",
    "num_kv_heads": "num_key_value_heads", "activation_function": "hidden_act", "hidden_activation": "hidden_act",
    "activation": "hidden_act", "layer_norm_epsilon": "layer_norm_eps", "norm_epsilon": "layer_norm_eps",
    "num_local_experts": "num_experts", "rotary_emb_base": "rope_theta",
    "rotary_pct": "partial_rotary_factor", "qk_layernorm": "use_qk_norm",
    "_sliding_window_pattern": "sliding_window_pattern",
}  # fmt: skip
"""Other names that families give to a field of ModelConfig; a null value counts as absent."""

ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "relu2": "relu2",
    "sigmoid": "sigmoid", "mish": "mish",
}  # fmt: skip
"""Hugging Face's names of activations (`transformers/activations.py`) in those of `realizar.ops`."""

HARMLESS = frozenset(
    "_attn_implementation _attn_implementation_autoset _name_or_path architectures attention_bias attention_dropout "
    "attention_probs_dropout_prob "
    "attn_pdrop auto_map bad_words_ids begin_suppress_tokens bias bos_token_id cache_implementation "
    "chunk_size_feed_forward classifier_dropout dtype emb_pdrop embd_pdrop embedding_dropout eos_token_id "
    "finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing hidden_dropout hidden_dropout_prob "
    "id2label "
    "init_device initializer_range is_decoder is_encoder_decoder label2id language max_window_layers mlp_bias n_ctx "
    "no_bias no_rope_layer_interval num_labels output_attentions output_hidden_states output_router_logits "
    "pad_token_id pretraining_tp problem_type qkv_bias remove_invalid_values reorder_and_upcast_attn resid_pdrop "
    "residual_dropout return_dict router_aux_loss_coef router_jitter_noise slow_but_exact "
    "summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj suppress_tokens "
    "task_specific_params tie_encoder_decoder tokenizer_class torch_dtype torchscript transformers_version "
    "unk_token_id use_bfloat16 use_bias use_cache use_qkv_bias use_sliding_window vision_config".split()
)
"""Keys of training, of generation, of other frameworks' memory, and those whose effect the tensors show (biases)."""

ONLY = {
    "alibi": (True,),
    "add_cross_attention": (False,),
    "apply_residual_connection_post_layernorm": (False,),
    "clip_qkv": (None,),
    "embedding_fraction": (1.0,),
    "norm_type": ("low_precision_layernorm", "layernorm", "layer_norm"),
    "qk_ln": (False,),
    "quantization_config": (None,),
    "position_embedding_type": ("absolute",),
    "prefix_lm": (False,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "scale_attn_weights": (True,),
    "use_bidirectional_attention": (False, None),
}
"""Keys that change what a model computes, and the values for which that is implemented; others are refused."""

MAX_SIZE = (1 << 31) - 1

INTEGERS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
         "max_position_embeddings", "original_max_position_embeddings", "sliding_window_pattern",
         "no_rope_layer_interval", "decoder_sparse_step", "num_experts", "num_experts_per_tok", "type_vocab_size"),
        (1, MAX_SIZE),
    ),
    "num_hidden_layers": (1, 1 << 16), "pad_token_id": (-1, MAX_SIZE),
    "max_window_layers": (0, MAX_SIZE), "sliding_window": (0, MAX_SIZE),
}  # fmt: skip
"""Sizes that others are worked out from, and what they may be."""

POSITIVE = ("logits_scaling", "partial_rotary_factor", "expansion_ratio", "rope_theta", "rope_local_base_freq")
"""Numbers that others are worked out from."""

LISTS = ("layer_types", "mlp_only_layers", "no_rope_layers")
OBJECTS = ("rope_scaling", "rope_parameters", "attn_config")
