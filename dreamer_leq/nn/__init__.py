"""Layers, distributions and losses of single predictions.

Shape legend, the same letters everywhere: B batch, T time, H imagination horizon, N
imagined rollouts, D deter, S latents, C classes of a latent, F features (D + S*C), A
action size, E ensemble members.
"""
