"""``python -m launch.sweep``: ``bdjax sweep mntd_mnist5k``."""

from launch import translate

if __name__ == "__main__":
    translate("sweep", "mntd_mnist5k")
