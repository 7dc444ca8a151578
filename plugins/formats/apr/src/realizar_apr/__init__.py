"""APR model files for realizar: `reader.read_apr` opens one, `writer.write_apr` makes one."""
