"""``python -m launch.plan``: ``bdjax plan mntd_mnist5k``."""

from launch import translate

if __name__ == "__main__":
    translate("plan", "mntd_mnist5k")
