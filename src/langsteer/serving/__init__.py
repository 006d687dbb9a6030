"""Serving: a model with its vectors behind OpenAI's interface, each request steered by its language."""

from langsteer.extras import EXTRAS, need

for _module in EXTRAS["serve"]:
    need(_module, "serve", "serving a model")
