"""Drawn objects in photo-like scenes: the demo's photos, and endless classes to train on.

scenes.py       drawn objects in photo-like scenes
shapes.py       outlines of the drawn things
backgrounds.py  surfaces that they lie on
"""
