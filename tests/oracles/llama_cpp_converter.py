"""llama.cpp's converter in a process of its own: it needs the `gguf` of its own tree, tests need the released one.

Arguments: the tree, how many tokens the vocabulary has. Each line of standard input is a folder with a checkpoint that
transformers saved, which becomes FOLDER/model.gguf without a vocabulary; a line comes back when it has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TREE, VOCAB_SIZE = sys.argv[1], int(sys.argv[2])
sys.path[:0] = [TREE, f"{TREE}/gguf-py"]

import conversion  # noqa: E402
import gguf  # noqa: E402
import torch  # noqa: E402


def convert(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"n_ctx": 64} if config["model_type"] == "gpt2" else {}
    config |= {"architectures": ["MPTForCausalLM"]} if config["model_type"] == "mpt" else {}
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = {"model": {"vocab": {str(i): i for i in range(VOCAB_SIZE)}}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    cls = conversion.get_model_class(config["architectures"][0])
    quiet = type("Quiet", (cls,), {"set_vocab": lambda self: None, "model_arch": cls.model_arch})
    with torch.inference_mode():
        writer = quiet(folder, gguf.LlamaFileType.ALL_F32, folder / "model.gguf")
        writer.hparams.setdefault("rotary_pct", writer.rope_parameters.get("partial_rotary_factor"))
        writer.write()


for line in sys.stdin:
    convert(Path(line.rstrip("\n")))
    print("written", flush=True)
