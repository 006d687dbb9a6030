"""The export formats of langsteer: a line each, which says where the format is.

Apart from `formats`, so that the command line can name them without loading any.
"""

FORMATS = {
    "gguf": "langsteer.export.gguf:FORMAT",
    "llama-server": "langsteer.export.llama_server:FORMAT",
    "lm-eval": "langsteer.export.lm_eval:FORMAT",
    "logit-bias": "langsteer.export.logit_bias:FORMAT",
    "merged": "langsteer.export.merged:FORMAT",
}
