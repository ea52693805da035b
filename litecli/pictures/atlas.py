"""All training images on a GPU, and pictures made of them there, a batch at a time.

What composites.py makes of one picture after the other on the CPU is made here of a whole batch by
a few operations on its pixels: sixteen cores that cut out and resize pictures feed a small network
at a tenth of the speed at which one GPU trains it. Shrunken crops are read from images that were
halved before (mipmaps: Williams, "Pyramidal parametrics", SIGGRAPH 1983), bilinearly.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from litecli.pictures.composites import Pictures
from litecli.pictures.pixels import PixelStore

HALVINGS = 3
MOST_OF_MEMORY = 0.3  # share of the GPU's free memory that the images may take
TOGETHER = 1 << 26  # pixels that are halved at once


def atlas_for(store: PixelStore, device: torch.device) -> "Atlas | None":
    """The images on `device`, if it is a GPU that has room for them."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return Atlas(store, device) if store.pixels.nbytes * 4 / 3 < MOST_OF_MEMORY * free else None


class Atlas:
    """Every image of a store at its size and halved up to HALVINGS times, on one device."""

    def __init__(self, store: PixelStore, device: torch.device) -> None:
        self.device = device
        whole = torch.from_numpy(np.array(store.pixels)).to(device).view(-1, 3)
        levels, sides = [whole], store.sides
        starts, widths = [store.starts // 3], [sides]
        for _ in range(HALVINGS):
            halved = np.maximum(sides // 2, np.minimum(sides, 1))
            ends = np.cumsum(halved**2)
            levels.append(self._halved(levels[-1], starts[-1], sides, ends - halved**2, ends[-1]))
            starts.append(ends - halved**2)
            sides = halved
            widths.append(sides)
        offsets = np.cumsum([0, *(len(level) for level in levels[:-1])])
        self.pixels = torch.cat(levels)  # uint8 [all, 3]
        self.starts = np.stack([s + o for s, o in zip(starts, offsets, strict=True)])  # [levels, n]
        self.sides = np.stack(widths)

    def _halved(
        self, pixels: Tensor, starts: np.ndarray, sides: np.ndarray, places: np.ndarray, total: int
    ) -> Tensor:
        """The images of one level at half their size, uint8 [total, 3]; a pixel stays one."""
        out = torch.empty((int(total), 3), dtype=torch.uint8, device=self.device)
        for side in np.unique(sides[sides > 0]).tolist():
            half = max(side // 2, 1)
            for numbers in _parts(np.flatnonzero(sides == side), max(1, TOGETHER // side**2)):
                spots = torch.arange(side**2, device=self.device)
                chosen = self._tensor(starts[numbers])[:, None] + spots
                images = pixels[chosen].view(-1, side, side, 3).permute(0, 3, 1, 2).float()
                small = functional.adaptive_avg_pool2d(images, half).round().byte()
                spots = torch.arange(half**2, device=self.device)
                chosen = self._tensor(places[numbers])[:, None] + spots
                out[chosen] = small.permute(0, 2, 3, 1).reshape(len(numbers), -1, 3)
        return out

    def render(self, pictures: Pictures, side: int) -> Tensor:
        """The pictures, float32 [B, 3, side, side] in 0 to 255 on the atlas's device."""
        count, parts = pictures.numbers.shape
        edges = np.rint(pictures.places * side)
        grid = torch.arange(side, device=self.device)
        top, left, bottom, right = (self._tensor(edges[..., i, None]) for i in range(4))
        rows, columns = (grid >= top) & (grid < bottom), (grid >= left) & (grid < right)
        opaque = self._tensor(pictures.opacities == 1)
        owner = torch.zeros((count, side, side), dtype=torch.uint8, device=self.device)
        for k in range(1, parts):
            covered = rows[:, k, :, None] & columns[:, k, None, :] & opaque[:, k, None, None]
            owner.masked_fill_(covered, k)
        everyone = np.arange(count)
        shown = self._sampled(pictures, edges, everyone, owner, side)
        for k in range(1, parts):  # what shines through covers the whole picture
            seen = np.flatnonzero((pictures.opacities[:, k] > 0) & (pictures.opacities[:, k] < 1))
            if len(seen):
                over = torch.full_like(owner[: len(seen)], k)
                through = self._sampled(pictures, edges, seen, over, side)
                opacity = self._tensor(pictures.opacities[seen, k].astype(np.float32))
                chosen = self._tensor(seen)
                shown[chosen] = shown[chosen].lerp(through, opacity[:, None, None, None])
        mirrored = self._tensor(pictures.mirrored)[:, None, None, None]
        return torch.where(mirrored, shown.flip(-1), shown)

    def _sampled(
        self, pictures: Pictures, edges: np.ndarray, rows: np.ndarray, owner: Tensor, side: int
    ) -> Tensor:
        """Pictures `rows` [b], each pixel from the part `owner` [b, S, S]: float [b, 3, S, S]."""
        numbers, crops = pictures.numbers[rows], pictures.crops[rows].astype(np.float64)
        corner, size = edges[rows][..., :2], edges[rows][..., 2:] - edges[rows][..., :2]
        shrink = crops[..., 2:] / np.maximum(size, 1)  # pixels of the image a pixel of the picture
        level = np.rint(np.log2(np.maximum(shrink.max(axis=-1), 1))).astype(np.int64)
        level = np.minimum(level, HALVINGS)
        width = self.sides[level, numbers]
        # A pixel's place in its part's image at that level is `slope` x its own + `shift`.
        ratio = (width / self.sides[0, numbers])[..., None]
        slope = shrink * ratio
        shift = (crops[..., :2] - corner * shrink) * ratio + 0.5 * slope - 0.5
        index = owner.flatten(1).long()

        def of_pixels(table: np.ndarray) -> Tensor:
            return self._tensor(table).gather(1, index)

        start, last = of_pixels(self.starts[level, numbers]), of_pixels(width - 1)
        line, step = last + 1, torch.arange(side, device=self.device)
        corners, shares = [], []
        for axis in (0, 1):
            own = step[:, None] if axis == 0 else step
            own = own.expand(side, side).flatten().float()
            place = of_pixels(slope[..., axis].astype(np.float32)) * own
            place += of_pixels(shift[..., axis].astype(np.float32))
            place = torch.minimum(place.clamp_(min=0), last.float())
            low = place.long()
            corners.append((low, torch.minimum(low + 1, last)))
            shares.append((place - low)[..., None])
        (up, down), (before, after) = corners
        upper, lower = start + up * line, start + down * line
        above = self._lerp(upper + before, upper + after, shares[1])
        below = self._lerp(lower + before, lower + after, shares[1])
        seen = above.lerp_(below, shares[0])
        return seen.view(len(rows), side, side, 3).permute(0, 3, 1, 2)

    def _lerp(self, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        return self.pixels[first].float().lerp_(self.pixels[second].float(), share)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)


def _parts(numbers: np.ndarray, size: int) -> list[np.ndarray]:
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]
