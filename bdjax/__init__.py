"""bdjax: does a trained neural network carry a backdoor?

Start from :mod:`bdjax.mntd`: ``mntd.load(directory).score(model)``.
"""
