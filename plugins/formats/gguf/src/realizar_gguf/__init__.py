"""GGUF model files for realizar: `reader.read_gguf` opens one, `writer.write_gguf` makes one."""
