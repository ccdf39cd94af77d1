"""Entry points: flags, one library call, tables."""
