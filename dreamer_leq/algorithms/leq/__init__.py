"""Lower Expectile Q-learning (arXiv 2407.00699) in the imagination of any world
model.
"""
