"""Training pictures: decoded once, cropped, lit and put together.

pixels.py         decoded training images, memory-mapped
gpu_decoding.py   large JPEGs of a training set decoded on a GPU
augment.py        training views of an image
composites.py     pictures put together from several images
atlas.py          the same on a GPU, a batch at once
training_data.py  a run's images, split once
overlaps.py       what validation shares with training
"""
