"""``python -m launch.bench``: ``bdjax bench``."""

from launch import translate

if __name__ == "__main__":
    translate("bench")
