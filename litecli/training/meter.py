"""The memory that a run takes: of the whole process on a CPU, of torch's tensors on CUDA."""

import torch

from litecli import memory


class Meter:
    """Bytes now, and at the peak since `reset`; `peak` is 0 where the system does not tell."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.tells = device.type in ("cpu", "cuda") and bool(self.peak())

    def reset(self) -> None:
        """Begin the peak anew, at what there is now; a CPU's only where the system can (Linux)."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            memory.reset_peak()

    def peak(self) -> int:
        """Most bytes at once since `reset`; 0 where the system does not tell."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) or 1
        return memory.recent_peak()

    def now(self) -> int:
        """Bytes now; 0 where the system does not tell."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        return memory.resident()


def measured_peak(device: torch.device) -> int:
    """Most bytes this process has had: resident on a CPU, torch's tensors on CUDA; 0: unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return memory.peak_resident() if device.type == "cpu" else 0
