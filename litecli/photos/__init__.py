"""A folder of photos to upright pixels. No torch.

walk.py            what lies in a folder
candidates.py      of very many files, those that may be photos
folders.py         folder of photos to labelled paths
decoding.py        file bytes to a picture
colours.py         any colours to 8-bit sRGB
support_looks.py   more looks at a photo to learn from
images.py          photo to pixels, for every path
"""
