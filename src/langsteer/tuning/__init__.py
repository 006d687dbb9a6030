"""Fine-tuning on instructions: SFT and DPO, as LoRA adapters, with or without steering."""

from langsteer.tuning.data import Instructions, Record, builtin_instructions, read_instructions
from langsteer.tuning.dpo import DpoOptions, dpo
from langsteer.tuning.folder import Tuned
from langsteer.tuning.job import TuneOptions
from langsteer.tuning.sft import SftOptions, sft

__all__ = [
    "DpoOptions",
    "Instructions",
    "Record",
    "SftOptions",
    "TuneOptions",
    "Tuned",
    "builtin_instructions",
    "dpo",
    "read_instructions",
    "sft",
]
