"""`litecli adapt` of a folder as a whole process, beside the usual way and beside its floor.

    python tests/benchmarks/adapt.py --model mobilenetv2_100 --weights DIR
        [--heic] [--unequal] [--runs 3]

100 photos of 12 megapixels (10 objects), or 30 in HEIC, or 95, with 5 to 14 of an object. The usual
way: easyfsl's prototypical networks on a timm network, photos through torchvision's transforms
(`pip install easyfsl`), with the same weights (a timm local folder). The floor: processor seconds
of decoding alone (shrink-on-load) and of the network alone (onnxruntime), shared by the cores, and
a command that does nothing. All take turns.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from made_photos import environment, write_photos

from litecli import library
from litecli.library.model_files import Model
from litecli.networks.encoder import Encoder
from litecli.personal.support import learned_looks
from litecli.photos import images
from litecli.threads import in_order, workers

LITECLI = (sys.executable, "-m", "litecli")
USUAL = """
import sys, timm, torch
from easyfsl.methods import PrototypicalNetworks
from torchvision import datasets, transforms
folder, weights = sys.argv[1:]
network = timm.create_model(f"local-dir:{weights}", pretrained=True, num_classes=0).eval()
prepare = transforms.Compose([
    transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
    transforms.Normalize([0.5] * 3, [0.5] * 3),
])
photos = datasets.ImageFolder(folder, prepare)
inputs, labels = zip(*photos)
few_shot = PrototypicalNetworks(network)
with torch.no_grad():
    few_shot.process_support_set(torch.stack(inputs), torch.tensor(labels))
"""


def clocked(work: Callable[[], object]) -> float:
    """Seconds of the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def shared(work: Callable[[], object]) -> float:
    """Processor seconds of this process, divided by the cores: no order of work is faster."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / workers()


def run(command: Sequence[str], home: Path) -> None:
    """A command that must succeed."""
    subprocess.run(command, check=True, capture_output=True, env=environment(home))


def decode(paths: Sequence[Path], model: Model) -> None:
    """Every photo to its pixels, in threads, nothing else."""
    preprocess = model.config.preprocess
    looks = learned_looks(preprocess, len(paths)) - len(preprocess.look_shares)

    def read(path: Path) -> np.ndarray:
        return images.to_input(images.load_looks(path, preprocess, looks)[0], preprocess)

    for _ in in_order(read, paths):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description="adapt, the usual way, and the floor.")
    parser.add_argument("--model")
    parser.add_argument("--weights", help="timm local folder of the same network")
    parser.add_argument("--heic", action="store_true")
    parser.add_argument("--unequal", action="store_true", help="5 to 14 photos of an object")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.heic and arguments.weights:
        parser.error("the usual way does not read HEIC: give --heic or --weights")
    model = library.find_model(arguments.model)
    folder = str(model.folder)
    with tempfile.TemporaryDirectory() as name:
        home, photos = Path(name, "home"), Path(name, "photos")
        kind, objects = ("heic", 3) if arguments.heic else ("jpg", 10)
        each = 5 + objects - 1 if arguments.unequal else 10
        paths = write_photos(photos, objects, each, kind=kind)
        if arguments.unequal:
            for number, path in enumerate(paths):
                thing, view = divmod(number, each)
                if view >= 5 + thing:
                    path.unlink()
            paths = [path for path in paths if path.exists()]
        preprocess = model.config.preprocess
        side = preprocess.image_size
        blank = np.zeros((learned_looks(preprocess, len(paths)), 3, side, side), np.float32)
        encoder = Encoder(model.folder)

        def network() -> None:
            for _ in in_order(lambda _: encoder.features(blank), paths):
                pass

        adapt = (*LITECLI, "adapt", str(photos), "--model", folder)
        ways: dict[str, Callable[[], object]] = {
            "adapt": lambda: run((*adapt, "--replace", "--name", str(time.time_ns())), home),
            "again": lambda: run((*adapt, "--name", "again"), home),
            "decode": lambda: decode(paths, model),
            "network": network,
            "empty command": lambda: run((*LITECLI, "--help"), home),
        }
        if arguments.weights:
            usual = (sys.executable, "-c", USUAL, str(photos), arguments.weights)
            ways["usual way"] = lambda: run(usual, home)
        run((*adapt, "--name", "again"), home)
        inside = {"decode", "network"}
        rounds = [
            {what: shared(work) if what in inside else clocked(work) for what, work in ways.items()}
            for _ in range(arguments.runs + 1)
        ][1:]
    print(f"{len(paths)} photos of 12 megapixels, {kind}, {model.name}, {workers()} cores")
    for what in ways:
        print(f"{what:>14} {statistics.median(row[what] for row in rounds):>7.2f} s")
    floors = [r["decode"] + r["network"] + r["empty command"] for r in rounds]
    over = statistics.median(r["adapt"] / floor for r, floor in zip(rounds, floors, strict=True))
    print(f"adapt / floor: {over:.2f}")
    if arguments.weights:
        times = statistics.median(r["usual way"] / r["adapt"] for r in rounds)
        print(f"usual way / adapt: {times:.1f}")


if __name__ == "__main__":
    main()
