"""The one door to the user's named profiles and models; see profile_library and model_library."""

from litecli.data_folder import check_name, name_for_folder
from litecli.model_files import Model, open_model
from litecli.model_library import (
    add_model,
    check_same_model,
    find_model,
    list_models,
    model_of,
    model_path,
    remove_model,
    use_model,
)
from litecli.profile_changes import (
    check_folder,
    remove_profile,
    rename_profile,
    save_profile,
    undo_profile,
    use_profile,
)
from litecli.profile_library import (
    ListedProfile,
    current_profile_name,
    list_profiles,
    load_profile,
    profile_names,
    profile_path,
    read_profile,
)

__all__ = [
    "ListedProfile",
    "Model",
    "add_model",
    "check_folder",
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
