"""A folder of photos to upright pixels. No torch.

walk.py      what lies in a folder
folders.py   folder of photos to labelled paths
decoding.py  file bytes to a picture
colours.py   any colours to 8-bit sRGB
images.py    photo to pixels, for every path
"""
