"""Loops over rows, tokens and pieces, for `align`, `frame` and `words`; as `layers.loops`, plain Python that numba compiles.

Where numba is not installed, operations of numpy give the same numbers. All arrays are int64 unless they are said to be of bools.
"""

from numpy import ndarray


def lay_units(
    units: ndarray, places: ndarray, known: ndarray, ranges: ndarray, pieces: ndarray, solid: ndarray, tokens: ndarray
) -> None:
    """Put the pieces of words that are known one after the other; see `words.WordSplitter`.

    units (ndarray): The words. Shape: (W,).
    places (ndarray): Of each word that is known: its first piece, how many it has, its first token, how many. Shape: (words, 4).
    known (ndarray): Of each piece: its number, first and last token, whether it is solid. Shape: (known pieces, 4).
    ranges (ndarray): Of each token: its first piece and its end. Shape: (known tokens, 2).
    pieces (ndarray): Written: number, first and last token, counted on from word to word. Shape: (3, P).
    solid (ndarray): Written. Of bools. Shape: (P,).
    tokens (ndarray): Written: first piece and end, counted on. Shape: (2, T).
    """
    piece, token = 0, 0
    for unit in units:
        first_piece, n_pieces, first_token, n_tokens = places[unit]
        for i in range(n_pieces):
            pieces[0, piece + i] = known[first_piece + i, 0]
            pieces[1, piece + i] = known[first_piece + i, 1] + token
            pieces[2, piece + i] = known[first_piece + i, 2] + token
            solid[piece + i] = known[first_piece + i, 3] != 0
        for i in range(n_tokens):
            tokens[0, token + i] = ranges[first_token + i, 0] + piece
            tokens[1, token + i] = ranges[first_token + i, 1] + piece
        piece += n_pieces
        token += n_tokens


def fill(
    order: ndarray,
    widths: ndarray,
    ids: ndarray,
    begin: ndarray,
    end: ndarray,
    prefix: ndarray,
    suffix: ndarray,
    prefix_types: ndarray,
    suffix_types: ndarray,
    text_type: int,
    input_ids: ndarray,
    types: ndarray,
    mask: ndarray,
    offsets: ndarray,
) -> None:
    """Put rows of pieces one after the other, framed and padded; see `frame.fill_rows`.

    order (ndarray): The rows, in the order in which they are put. Shape: (R,).
    widths (ndarray): How long each of them becomes. Shape: (R,).
    ids (ndarray): All pieces. Shape: (P,).
    begin, end (ndarray): The pieces of each row. Shape: (R,).
    prefix, suffix, prefix_types, suffix_types, text_type: As in `frame.Frame`.
    input_ids, types (ndarray): Written, but for padding. Shape: (C,).
    mask (ndarray): Of bools. Written where there is no padding. Shape: (C,).
    offsets (ndarray): Written: where each row begins. Shape: (R,).
    """
    place = 0
    for i in range(len(order)):
        row, at = order[i], place
        offsets[row] = place
        for k in range(len(prefix)):
            input_ids[at + k], types[at + k] = prefix[k], prefix_types[k]
        at += len(prefix)
        for k in range(end[row] - begin[row]):
            input_ids[at + k], types[at + k] = ids[begin[row] + k], text_type
        at += end[row] - begin[row]
        for k in range(len(suffix)):
            input_ids[at + k], types[at + k] = suffix[k], suffix_types[k]
        mask[place : max(at + len(suffix), place + 1)] = True  # without text and special pieces: one of padding
        place += widths[i]


def align(
    first: ndarray,
    end: ndarray,
    solid: ndarray,
    begin: ndarray,
    start: ndarray,
    stop: ndarray,
    offsets: ndarray,
    prefix: int,
    target: ndarray,
    counts: ndarray,
) -> int:
    """Align each token to its pieces, where no token is in two windows, or in one of its own; see `align.align_tokens`.

    first, end (ndarray): The pieces of each token. Shape: (T,).
    solid (ndarray): Whether a piece stands for characters. Of bools. Shape: (P,).
    begin (ndarray): The first piece of each row. Shape: (R,).
    start, stop (ndarray): Its tokens; each row begins where the one before it ends, or behind that. Shape: (R,).
    offsets (ndarray): Where it begins in the flattened rows. Shape: (R,).
    prefix (int): How many special pieces it begins with.
    target (ndarray): Written: indices into the flattened rows, token by token. int32. Shape: (at least one a token, ...).
    counts (ndarray): Written: how many each token has; left alone for tokens in no row. int32. Shape: (T,).
    RETURNS (int): How many indices were written.
    """
    place = 0
    for row in range(len(start)):
        text = prefix - begin[row]
        for token in range(start[row], stop[row]):
            before, hollow = place, True
            for piece in range(first[token], end[token]):
                hollow = hollow and not solid[piece]
            for piece in range(first[token], end[token]):
                if hollow or solid[piece]:
                    target[place] = offsets[row] + text + piece
                    place += 1
            if place == before:  # it has no pieces: that before it counts, if only a special one
                target[place] = offsets[row] + max(text + first[token] - 1, 0)
                place += 1
            counts[token] = place - before
    return place
