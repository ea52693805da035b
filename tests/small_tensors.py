"""A few tensors of several types, for the tests that write them to a file."""

import numpy as np

TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(7, dtype=np.int64),
    "text": np.frombuffer(b"jpeg", dtype=np.uint8),
}
