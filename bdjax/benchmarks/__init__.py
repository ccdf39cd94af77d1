"""How fast bdjax is, beside PyTorch in the same run: ``bdjax bench``.

What runs in PyTorch is in :mod:`bdjax.benchmarks.pytorch`, which checkouts have and
wheels leave out.
"""
