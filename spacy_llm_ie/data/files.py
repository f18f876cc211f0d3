"""Finds the files of a corpus."""

from pathlib import Path
from typing import List, Optional, Sequence, Union

from ..errors import Errors
from .problems import Problems


def find_files(
    path: Union[str, Path],
    endings: Sequence[str],
    *,
    skip: Sequence[Path] = (),
    any_ending: bool = False,
    problems: Optional[Problems] = None,
) -> List[Path]:
    """The files to read: the file itself, or those of a folder and its folders, in the order of their names.

    path (Union[str, Path]): A file or a folder.
    endings (Sequence[str]): How the names of the files end, with the dot.
    skip (Sequence[Path]): Files that are not to be read, such as the output.
    any_ending (bool): Take a file that is named itself whatever its ending.
    problems (Optional[Problems]): Takes in the files of a folder that have another ending, as notes.
    RETURNS (List[Path]): At least one; hidden files and folders are passed over. Raises ValueError (E165,
        E166) if there is nothing at the path, or no file with such an ending.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(Errors.E165.format(path=path))
    if path.is_file():
        files = [path]
    else:
        skipped = {p.resolve() for p in skip}
        inside = sorted(p for p in path.rglob("*") if p.is_file() and p.resolve() not in skipped)
        files = [p for p in inside if not any(x.startswith(".") for x in p.relative_to(path).parts)]
    fitting = [p for p in files if p.name.endswith(tuple(endings)) or (any_ending and path.is_file())]
    if not fitting:
        found = ", ".join(p.name for p in files[:5]) or "no files"
        raise ValueError(Errors.E166.format(path=path, endings=" or ".join(endings), found=found))
    if problems is not None:
        for other in sorted(set(files) - set(fitting)):
            problems.add("other_file", other.name)
    return fitting
