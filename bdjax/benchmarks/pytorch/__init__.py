"""The same work in PyTorch: its networks, the work, its processes, and whose turn it is.

In checkouts alone: wheels leave it out.
"""
