"""langsteer measured against the libraries that do the same: see `benchmarks.peers.__main__`."""
