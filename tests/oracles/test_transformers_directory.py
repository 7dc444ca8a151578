"""Directories as `save_pretrained` leaves them: the same logits as transformers, the same ids as its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realizar import LLM, load_tokenizer
from realizar.testing.models import tiny_model
from realizar_safetensors.reader import read_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("realizar_bpe")

IDS = [1, *range(250, 290), 7, 7, 3]
TEXTS = ["the sea and the", "naïve  façade\n\n 漢字 😀 1234 it's <think>x</think>", "", " \t end  ", "A<|im_end|>b"]


def tiny_llama(**changes: Any) -> Any:
    """Random weights, louder than transformers makes them, so that logits tell differences."""
    sizes = {
        "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2,
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": None,
    }  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**(sizes | changes))).eval()


def logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy()


@pytest.mark.parametrize("max_shard_size", ["1GB", "100KB"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_word_embeddings": True}, {"attention_bias": True}, {"head_dim": 32}, {"rms_norm_eps": 1e-3}],
    ids=str,
)
@pytest.mark.proves("transformers", family="llama", format="safetensors", type="F32", backend="numpy")
def test_same_logits(changes: dict[str, Any], max_shard_size: str, tmp_path: Path) -> None:
    model = tiny_llama(**changes)
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (max_shard_size == "100KB")
    tiny_tokenizer().save_pretrained(tmp_path)
    with LLM(tmp_path, backend="numpy") as llm:
        np.testing.assert_allclose(llm.logits(IDS), logits(model), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
@pytest.mark.proves("transformers", family="llama", format="safetensors", type=("F16", "BF16"))
def test_half_precision_files(kind: str, tmp_path: Path) -> None:
    model = tiny_llama().to(getattr(torch, kind))
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    types = {tensor.dtype.name for tensor in read_model(tmp_path).tensors.values()}
    assert types == {"BF16" if kind == "bfloat16" else "F16"}
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with LLM(tmp_path, backend="numpy") as llm:
        np.testing.assert_allclose(llm.logits(IDS), logits(model), atol=1e-4, rtol=0)


@pytest.mark.proves("transformers", family="llama", format="safetensors", type="F8_E4M3")
def test_fp8_with_block_scales(tmp_path: Path) -> None:
    """Weights quantized here by torch, [16, 32] elements to a scale, and multiplied out by torch for transformers."""
    from safetensors.torch import load_file, save_file

    model = tiny_llama()
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    stored, plain = {}, {}
    for name, weight in load_file(tmp_path / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            stored[name] = plain[name] = weight
            continue
        blocks = weight.reshape(weight.shape[0] // 16, 16, weight.shape[1] // 32, 32)
        scale = blocks.abs().amax(dim=(1, 3)) / 448
        codes = (blocks / scale[:, None, :, None]).reshape(weight.shape).to(torch.float8_e4m3fn)
        wide = scale.repeat_interleave(16, 0).repeat_interleave(32, 1)
        stored |= {name: codes, f"{name}_scale_inv": scale}
        plain[name] = codes.to(torch.float32) * wide
    save_file(stored, tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [16, 32]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model.load_state_dict(plain)
    with LLM(tmp_path, backend="numpy") as llm:
        np.testing.assert_allclose(llm.logits(IDS), logits(model), atol=1e-4, rtol=0)


def tiny_tokenizer(pre: str = "gpt-2") -> Any:
    """The kit's 300 tokens as transformers holds them."""
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors

    from realizar.huggingface.pre_tokenizers import LLAMA3 as LLAMA3_REGEX
    from realizar.huggingface.pre_tokenizers import QWEN2

    spec = tiny_model().tokenizer
    assert spec.token_types is not None and spec.merges is not None
    kinds = dict(zip(spec.tokens, spec.token_types, strict=True))
    vocabulary = {piece: i for i, piece in enumerate(spec.tokens)}
    merges = [tuple(merge.split(" ")) for merge in spec.merges]
    fast = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre == "llama-bpe"))
    spelling = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rule = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.pre_tokenizer = {
        "gpt-2": rule,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), rule]),
        "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3_REGEX), "isolated"), spelling]),
        "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), spelling]),
    }[pre]
    fast.decoder = decoders.ByteLevel()
    for piece, kind in kinds.items():
        if kind != 1:
            fast.add_tokens([AddedToken(piece, special=kind == 3, normalized=False)])
    bos = spec.tokens[0]
    fast.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, bos_token=bos, eos_token=spec.tokens[2], chat_template=spec.chat_template
    )


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
@pytest.mark.proves("transformers", tokenizer="bpe", vocabulary="tokenizer.json")
def test_same_ids(pre: str, tmp_path: Path) -> None:
    theirs = tiny_tokenizer(pre)
    theirs.save_pretrained(tmp_path)
    tiny_llama().save_pretrained(tmp_path)
    spec = read_model(tmp_path).tokenizer
    assert spec is not None
    assert (spec.pre, spec.bos_token_id, spec.eos_token_ids, spec.add_bos_token) == (pre, 0, (2,), True)
    assert spec.chat_template == theirs.chat_template
    ours = load_tokenizer(tmp_path)
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ours.encode(text, parse_special=True) == ids
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids, clean_up_tokenization_spaces=False)
