"""How far each support gradient is from the exact one.

settings.py  what an audit compares, without torch
audit.py     support gradients against the exact
data.py      the tasks of an audit
learner.py   the learner it examines
moments.py   bias and spread, streamed
plot.py      its picture
"""
