"""JSON, YAML and TOML files that describe a run or a model: each format's reader is a file of its own."""
