"""Few-shot accuracy: ways to solve a task, and how right they are.

evaluation.py  few-shot accuracy with its interval
methods.py     which solver, and its cost
solvers.py     ways to solve one task
baselines.py   probe, fine-tuning, MAML
maml.py        gradient steps on a support set
"""
