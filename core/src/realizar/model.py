"""What a model file says about its model: configuration, tensors, tokenizer. All names are Hugging Face's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs

from realizar.errors import ModelError
from realizar.pipeline.pipeline import Pipeline
from realizar.tensors import LazyTensor

FULL, SLIDING = "full_attention", "sliding_attention"
"""Kinds of layers, as in Hugging Face's `layer_types`."""


@attrs.frozen
class RopeScaling:
    """How rotary frequencies are stretched. Field names: Hugging Face `rope_scaling`."""

    rope_type: str
    factor: float = 1.0
    original_max_position_embeddings: int | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None


@attrs.frozen
class ModelConfig:
    """Sizes and constants of a model, structured from a plain dict by `structure_config`."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    rotary_dim: int | None = None
    hidden_act: str = "silu"
    sliding_window: int | None = None
    layer_types: tuple[str, ...] | None = None
    """FULL or SLIDING for each layer; None: every layer slides if there is a sliding_window."""
    rope_local_base_freq: float | None = None
    """The rope_theta of sliding layers, which then have no rope_scaling; None: as the others."""
    query_pre_attn_scalar: float | None = None
    attention_multiplier: float | None = None
    use_qk_norm: bool = False
    """Whether queries and keys are normed head by head, in families of which some models have that."""
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logit_scale: float = 1.0
    layer_norm_eps: float = 1e-5
    is_causal: bool = True
    """Whether a token sees only those before it; otherwise all of its text."""
    type_vocab_size: int | None = None
    """Embeddings that tell the texts of a pair apart; None: there are none."""
    pooling_type: Literal["mean", "cls", "last"] | None = None
    """How the hidden states of a text become its embedding; such a model gives no logits. None: it is no such model."""
    normalize_embeddings: bool = False
    """Whether embeddings have length 1."""
    tie_word_embeddings: bool | None = None
    """Whether the output layer is the embedding; None: where the file has no other."""
    use_parallel_residual: bool = False
    num_ln_in_parallel_attn: int = 1
    """1: both sublayers of a parallel layer read the same normed rows; 2: each has its norm."""
    alibi_bias_max: float | None = None
    alibi_multiplier: float = 1.0
    """What linear biases are multiplied by beyond their slopes (Falcon: the scale of the scores)."""
    no_rope_layers: tuple[int, ...] | None = None
    """0 for each layer without rotary positions, else 1; None: all have them."""
    num_experts: int | None = None
    num_experts_per_tok: int | None = None
    moe_intermediate_size: int | None = None
    shared_expert_intermediate_size: int | None = None
    norm_topk_prob: bool = True
    sparse_layers: tuple[bool, ...] | None = None
    """Which layers have experts; None: all, if the model has any."""
    unknown: tuple[str, ...] = ()
    """Keys that the file has and nobody here understands; shown by `inspect` and logged at load."""

    def kind_of_layer(self, layer_id: int) -> str:
        """FULL or SLIDING; a layer slides if nothing says otherwise, over everything where there is no window."""
        return self.layer_types[layer_id] if self.layer_types else SLIDING

    def window(self, layer_id: int) -> int:
        """How many positions a query of that layer sees; 0: all before it."""
        return (self.sliding_window or 0) if self.kind_of_layer(layer_id) == SLIDING else 0

    def rotates(self, layer_id: int) -> bool:
        """Whether queries and keys of that layer have rotary positions."""
        return self.no_rope_layers is None or self.no_rope_layers[layer_id] != 0

    def is_sparse(self, layer_id: int) -> bool:
        """Whether that layer's feed-forward is a mixture of experts."""
        return self.num_experts is not None and (self.sparse_layers is None or self.sparse_layers[layer_id])

    @property
    def attention_scale(self) -> float:
        """What products of queries and keys are multiplied by."""
        if self.attention_multiplier is not None:
            return self.attention_multiplier
        return 1 / math.sqrt(self.query_pre_attn_scalar or self.head_dim)


def structure_config(values: Mapping[str, Any], source: str, unknown: Sequence[str] = ()) -> ModelConfig:
    """A ModelConfig from Hugging Face keys; raises ModelError naming the missing or mistyped key and `source`.

    Keys that ModelConfig lacks join `unknown`.
    """
    known = {field.name for field in attrs.fields(ModelConfig)}
    extra = sorted(set(values) - known)
    try:
        config = _converter.structure({k: v for k, v in values.items() if k in known}, ModelConfig)
    except cattrs.ClassValidationError as error:
        problems = "; ".join(cattrs.transform_error(error))
        raise ModelError(f"{source}: the model configuration is incomplete or mistyped: {problems}") from error
    return attrs.evolve(config, unknown=(*unknown, *extra))


def _number(value: Any, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or kind(value) != value:
        raise TypeError(f"expected {kind.__name__}, found {value!r}")
    return kind(value)


def _truth(value: Any, _: type) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected bool, found {value!r}")
    return value


_converter = cattrs.Converter(detailed_validation=True)
_converter.register_structure_hook(int, _number)
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook(bool, _truth)


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Token types, as in GGUF `tokenizer.ggml.token_type` and SentencePiece's `ModelProto.SentencePiece.Type`."""


@attrs.frozen
class TokenizerSpec:
    """Everything a tokenizer plugin needs, whatever file it came from.

    model: "bpe", "unigram", "spm" or "wordpiece"; pre: the pre-tokenizer's name ("llama-bpe").
    tokens: piece by id, in the vocabulary's own spelling (byte-level pieces stay in GPT-2's alphabet).
    token_types: one of NORMAL...BYTE per id; merges: "left right" in rank order; scores: per id.
    Of "spm" either will do; scores count where both are.
    eos_token_ids: every id that ends generation, the main one first.
    do_lower_case, strip_accents, tokenize_chinese_chars (spaces around each), max_input_chars_per_word (a longer word
    is unknown): of wordpiece; the defaults are those of BERT's uncased vocabularies.

    Of "spm" and "unigram" only:
    add_space_prefix: a text begins with a space; with prepend_scheme "always" also what follows an added token
    (llama.cpp, Hugging Face's `legacy`), with "first" nothing else (SentencePiece).
    split_user_defined: user-defined tokens part a text before it is normalized (llama.cpp, Hugging Face); otherwise
    they are found in the normalized text (SentencePiece).
    remove_extra_whitespaces: runs of spaces become one, those at either end none.
    treat_whitespace_as_suffix: the space of add_space_prefix ends the text instead.
    precompiled_charsmap: SentencePiece's normalization rules, a double-array trie and its replacements.

    pipeline: all of a tokenizer.json that the fields above cannot say; then it counts instead of them, and core runs
    it around the plugin's `build_model`. tokens, token_types, merges and scores are the model's in either case.
    """

    model: str
    tokens: Sequence[str]
    source: str
    pre: str | None = None
    token_types: Sequence[int] | None = None
    merges: Sequence[str] | None = None
    scores: Sequence[float] | None = None
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    unk_token_id: int | None = None
    pad_token_id: int | None = None
    add_bos_token: bool = False
    add_eos_token: bool = False
    add_space_prefix: bool = False
    do_lower_case: bool = True
    strip_accents: bool = True
    tokenize_chinese_chars: bool = True
    max_input_chars_per_word: int = 100
    prepend_scheme: Literal["always", "first"] = "always"
    split_user_defined: bool = True
    remove_extra_whitespaces: bool = False
    treat_whitespace_as_suffix: bool = False
    precompiled_charsmap: bytes | None = attrs.field(default=None, repr=False)
    chat_template: str | None = None
    named_chat_templates: Mapping[str, str] = attrs.field(factory=dict)
    pipeline: Pipeline | None = None


@attrs.frozen
class ModelFile:
    """An open model file: the header is read, the tensors are not.

    config and tokenizer are None where the file has none (a vocabulary-only file, a tensor dump), or one that is not
    understood; no_config and no_tokenizer then say what is missing.
    metadata: the file's own keys and values, for `inspect`.
    """

    path: Path
    format: str
    config: ModelConfig | None
    tensors: Mapping[str, LazyTensor]
    tokenizer: TokenizerSpec | None
    metadata: Mapping[str, object]
    no_config: str = ""
    _close: Callable[[], None] = attrs.field(default=lambda: None, repr=False)
    no_tokenizer: str = ""
    prepacked: Mapping[str, Mapping[str, LazyTensor]] = attrs.field(factory=dict, repr=False)
    """Copies in the layouts of backends: layout -> name of a tensor -> its copy, as `realizar.prepacked` says."""

    def close(self) -> None:
        """Release the mapping; tensors must not be read afterwards."""
        self._close()
