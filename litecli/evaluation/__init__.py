"""Few-shot accuracy: ways to solve a task, and how right they are.

defaults.py    what `evaluate` does and compares with, without torch
evaluation.py  few-shot accuracy with its interval
methods.py     which solver, and its cost
solvers.py     ways to solve one task
baselines.py   probe, fine-tuning, MAML
maml.py        gradient steps on a support set
"""
