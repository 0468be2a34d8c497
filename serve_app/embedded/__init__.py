"""The small model that ships with the code: weights, card, reference sampler."""
