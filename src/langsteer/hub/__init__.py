"""Vectors shared on the Hugging Face hub: the card that says what they are, and how they get there."""
