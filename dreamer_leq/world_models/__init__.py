"""World models behind one interface (interface.py): the latent RSSM lives in
latent.py.
"""
