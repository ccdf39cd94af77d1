"""``python -m launch.population``: ``bdjax population mntd_mnist5k``."""

from launch import translate

if __name__ == "__main__":
    translate("population", "mntd_mnist5k")
