"""Algorithms: each learns a policy from a dataset, most of them in imagination."""
