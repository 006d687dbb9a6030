"""What a model's layers make of its languages: alignment, identity, the latent language, norms."""
