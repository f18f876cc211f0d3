"""What tests of several rooms share. Everything here is offline and deterministic."""

import string
from pathlib import Path
from typing import Union

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """
    the of and to in a is that for on was said with it at by from has had will its an as be he she this
    company group bank firm chief executive officer analyst spokes man woman million billion year week
    monday tuesday wednesday thursday friday january march april june july august december first third quarter
    buy bought sell sold launch launched agreed acquire acquired appoint appointed name named sue sued join
    joined raise raised cut jobs staff founded based unit shares deal new old london paris lagos york ohio
""".split()
ENDINGS = ["##ing", "##ed", "##er", "##ly", "##es", "##tion", "##land", "##ton", "##son", "##corp", "##ment"]


def make_tiny_bert(path: Union[str, Path], *, max_positions: int = 128, width: int = 32) -> str:
    """Save a random 2-layer BERT with a WordPiece vocabulary of some hundred pieces; the same one each time.

    path (Union[str, Path]): Folder to write into; made if it is missing.
    max_positions (int): Longest input in word pieces, [CLS] and [SEP] included.
    width (int): Width of the vectors; a multiple of 4.
    RETURNS (str): The path, for `name` of a transformer model.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    characters = string.ascii_lowercase + string.digits
    marks = list(string.punctuation) + list("\u00e9\u4e2d\u56fd\u0627\u0644\u05d0")
    vocab = [*SPECIAL, *characters, *(f"##{char}" for char in characters), *marks, *dict.fromkeys(WORDS), *ENDINGS]
    (path / "vocab.txt").write_text("\n".join(dict.fromkeys(vocab)) + "\n", encoding="utf8")
    tokenizer = BertTokenizerFast(str(path / "vocab.txt"), do_lower_case=True, model_max_length=max_positions)
    tokenizer.save_pretrained(str(path))
    config = BertConfig(
        vocab_size=len(dict.fromkeys(vocab)),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=max_positions,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(str(path))
    return str(path)
