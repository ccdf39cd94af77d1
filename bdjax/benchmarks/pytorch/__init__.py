"""The same work in PyTorch: its networks, the work itself, and its processes.

In checkouts alone: wheels leave it out.
"""
