"""The families that core knows."""

from __future__ import annotations

from realizar.architectures.architecture import Architecture
from realizar.architectures.bert import Bert
from realizar.architectures.bloom import Bloom
from realizar.architectures.cohere import Cohere
from realizar.architectures.falcon import Falcon
from realizar.architectures.gemma import Gemma
from realizar.architectures.gemma2 import Gemma2
from realizar.architectures.gemma3 import Gemma3
from realizar.architectures.gpt2 import GPT2
from realizar.architectures.gpt_neox import GPTNeoX
from realizar.architectures.granite import Granite
from realizar.architectures.llama import Llama
from realizar.architectures.mixtral import Mixtral
from realizar.architectures.mpt import MPT
from realizar.architectures.nomic_bert import NomicBert
from realizar.architectures.olmo2 import OLMo2
from realizar.architectures.phi import Phi
from realizar.architectures.phi3 import Phi3
from realizar.architectures.qwen2 import Qwen2
from realizar.architectures.qwen2_moe import Qwen2MoE
from realizar.architectures.qwen3 import Qwen3
from realizar.architectures.qwen3_moe import Qwen3MoE
from realizar.architectures.smollm3 import SmolLM3
from realizar.architectures.stablelm import StableLM
from realizar.architectures.starcoder2 import StarCoder2

FAMILIES: tuple[Architecture, ...] = (
    Bert(),
    Bloom(),
    Cohere(),
    Falcon(),
    Gemma(),
    Gemma2(),
    Gemma3(),
    GPT2(),
    GPTNeoX(),
    Granite(),
    Llama(),
    Mixtral(),
    MPT(),
    NomicBert(),
    OLMo2(),
    Phi(),
    Phi3(),
    Qwen2(),
    Qwen2MoE(),
    Qwen3(),
    Qwen3MoE(),
    SmolLM3(),
    StableLM(),
    StarCoder2(),
)
"""One of each."""
