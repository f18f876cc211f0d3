"""The two formats that the reader takes: .spacy files and our JSONL format."""

from pathlib import Path
from typing import Iterator

from spacy.language import Language
from spacy.tokens import Doc

from ..build import TOKENS
from ..corpus import read_docbin, read_records
from ..problems import Problems


def read_ours(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read a file in our JSONL format.

    path (Path): The file.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Takes in what does not fit.
    YIELDS (Doc): The documents. Raises ValueError (E156-E163) for records that do not follow the format.
    """
    for _, doc in read_records(path, nlp, problems):
        yield doc


def read_spacy(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read a .spacy file. Documents whose tokens the tokenizer would not make are marked, so that JSONL has
    them.

    path (Path): The file.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Not used.
    YIELDS (Doc): The documents. Raises ValueError (E174) if the file cannot be read.
    """
    for _, doc in read_docbin(path, nlp, problems):
        if TOKENS not in doc.user_data and _places(nlp.tokenizer(doc.text)) != _places(doc):
            doc.user_data[TOKENS] = True
        yield doc


def _places(doc: Doc) -> list:
    return [(token.idx, len(token)) for token in doc]
