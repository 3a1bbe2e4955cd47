"""TOML text in, frozen attrs objects out, with every mistake at once."""
