"""Few-shot tasks: labelled images, and episode number k of them.

episodes.py       episode k from its seed
datasets.py       class folders and ORBIT trees
drawn_classes.py  classes of drawn objects, without end
"""
