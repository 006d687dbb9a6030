"""A plug-in of vLLM: vectors chosen by each request, with no fork.

vLLM loads `plugin.register` in each of its processes, by the entry point `vllm.general_plugins`. It does nothing
unless the engine was started with

    --additional-config '{"langsteer": {"vectors": "vectors/"}}'

A request names its vector in `vllm_xargs`, in a few words (`word.py`); the process that takes requests makes
of them which tokens get which row of a table at which scale (`steering.py`), by a digest of the numbers that
are added and never by a place in a list. That goes with the request to the scheduler, which shares cached blocks
among requests that are steered alike (`prefix.py`), and to the workers, which write it, step by step, where the
compiled model reads it (`steps.py`, `layers.py`).
"""
