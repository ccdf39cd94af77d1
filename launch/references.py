"""``python -m launch.references``: ``bdjax references``."""

from launch import translate

if __name__ == "__main__":
    translate("references")
