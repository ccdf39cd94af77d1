"""``python -m launch.tnd``: ``bdjax run dltnd_mnist5k``."""

from launch import translate

if __name__ == "__main__":
    translate("run", "dltnd_mnist5k")
