"""Heads: features and labels to class parameters and scores, on numpy and torch alike.

labelled.py              arithmetic that all heads share
head.py                  support features to class parameters and scores
heads.py                 the heads there are, by name
choice.py                which head suits a support set
prototypes.py            class means, and their leave-one-out
mahalanobis.py           the head of Simple CNAPs, exactly
mahalanobis_dense.py     the same of many photos, in torch
mahalanobis_gradient.py  its gradient, written out
mahalanobis_held_out.py  and its leave-one-out
ridge.py                 ridge regression in closed form
photo_counts.py          unequal photo counts, put right
generated.py             the head of CNAPs
confidence.py            how sure, and when unknown
"""
