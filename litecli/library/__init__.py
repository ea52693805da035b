"""What lies in the user's data folder: profiles, and models opened without torch.

Imported as one door to both: `library.find_model`, `library.save_profile`.

data_folder.py      names, locks, what is current
model_files.py      a model's folder, opened without torch
model_tensors.py    a model's tensors, by name
profile.py          what adapt learned, as data
profile_library.py  named profiles, found and read
profile_places.py   where a profile may be saved
profile_changes.py  saved, renamed, removed and undone
model_library.py    shipped and own models, found
"""

from litecli.library.data_folder import check_name, name_for_folder
from litecli.library.model_files import Model, open_model
from litecli.library.model_library import (
    add_model,
    check_free,
    check_same_model,
    find_model,
    list_models,
    model_of,
    model_path,
    remove_model,
    use_model,
)
from litecli.library.profile_changes import (
    remove_profile,
    rename_profile,
    save_profile,
    undo_profile,
    use_profile,
)
from litecli.library.profile_library import (
    ListedProfile,
    current_profile_name,
    list_profiles,
    load_profile,
    profile_names,
    profile_path,
    read_profile,
)
from litecli.library.profile_places import check_file, check_folder

__all__ = [
    "ListedProfile",
    "Model",
    "add_model",
    "check_file",
    "check_folder",
    "check_free",
    "check_name",
    "check_same_model",
    "current_profile_name",
    "find_model",
    "list_models",
    "list_profiles",
    "load_profile",
    "model_of",
    "model_path",
    "name_for_folder",
    "open_model",
    "profile_names",
    "profile_path",
    "read_profile",
    "remove_model",
    "remove_profile",
    "rename_profile",
    "save_profile",
    "undo_profile",
    "use_model",
    "use_profile",
]
