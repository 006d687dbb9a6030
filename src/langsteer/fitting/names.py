"""The fitting methods of langsteer: a line each, which says where the method is.

Apart from `methods`, so that the command line can name them without loading any.
"""

DEFAULT_METHOD = "learned"
METHODS = {
    "learned": "langsteer.fitting.learned:METHOD",
    "mean_difference": "langsteer.fitting.mean_difference:METHOD",
    "principal_component": "langsteer.fitting.principal_component:METHOD",
    "probe": "langsteer.fitting.probe:METHOD",
    "answers": "langsteer.fitting.answers:METHOD",
    "pivot_words": "langsteer.fitting.logit_bias:PIVOT_WORDS",
    "language_words": "langsteer.fitting.logit_bias:LANGUAGE_WORDS",
    "only_script": "langsteer.fitting.logit_bias:ONLY_SCRIPT",
    "low_rank": "langsteer.fitting.low_rank:METHOD",
    "projection": "langsteer.fitting.projection:METHOD",
    "projection_all": "langsteer.fitting.projection:METHOD_ALL",
    "subspace_removal": "langsteer.fitting.subspace_removal:METHOD",
    "lrp2": "langsteer.fitting.lrp2:METHOD",
    "mrre": "langsteer.fitting.mrre:METHOD",
    "recover": "langsteer.fitting.recover:METHOD",
    "itlc": "langsteer.fitting.itlc:METHOD",
    "language_vector": "langsteer.fitting.language_vector:METHOD",
}
