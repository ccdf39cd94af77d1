"""``python -m launch.mntd``: ``bdjax run mntd_mnist5k``."""

from launch import translate

if __name__ == "__main__":
    translate("run", "mntd_mnist5k")
