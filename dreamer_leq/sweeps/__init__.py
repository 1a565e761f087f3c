"""Sweeps: from a file that names axes to jobs, engines that run them, and results.

A job is one process of training with a folder of its own, and the folder is its state.
"""
