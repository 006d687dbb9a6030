"""Whether other engines steer as transformers does: one file an engine, one table of all."""
