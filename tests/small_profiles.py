"""Photos learned as a small profile, and what is said of them."""

from pathlib import Path

from litecli import storage
from litecli.library.model_files import Model
from litecli.library.profile import Profile, to_tensors
from litecli.personal import personalize

FOUR = {"keys": 6, "mug": 6, "bowl": 6, "wallet": 6}


def file_bytes(profile: Profile) -> bytes:
    return storage.tensor_bytes(*to_tensors(profile))


def report_of(learned: personalize.Adaptation, label: str) -> personalize.ObjectReport:
    return next(report for report in learned.objects if report.label == label)


def adapt(folder: Path, model: Model, **options) -> personalize.Adaptation:
    return personalize.adapt(folder, model, name="mine", **options)
