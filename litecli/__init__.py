"""litecli learns a person's own objects from a folder of photos and names them in new photos."""

__version__ = "0.1.0"
