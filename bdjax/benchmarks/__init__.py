"""How fast bdjax is, beside PyTorch in the same run; see ``launch/bench.py``."""
