"""Safetensors for realizar: `reader.read_model` opens files and directories, `writer.write_safetensors` makes files."""
