"""Weights of an exported encoder as int8: a quarter of the size, and quicker where the processor multiplies int8.

Weights are quantised symmetrically, each output column of a matrix and each row of an embedding table with a scale of its own
(Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 2.1,
with the zero point at 0). How the products are calculated is the runtime's affair, or part of the graph: see `quantize_products`.
"""

import zlib
from typing import Any, Dict, NamedTuple, Optional, Set, Tuple

import numpy
from numpy import ndarray

from .compensate import round_compensated
from .graph import Graph, layer_names
from .pack import GROUP, PackedRows, Packing, level_table, pack_rows, unpack_rows

# Where ONNX Runtime keeps what ONNX itself does not have.
MICROSOFT = "com.microsoft"
# Smaller tables (positions, segments) stay as they are; positions do not where every byte counts.
LEAST_TABLE = {"whole": 1024, "packed": 100}
LARGEST = 127
# Whole numbers below zero where negative numbers are small.
FEW = 32


class RoundedRows(NamedTuple):
    """Names in a graph: rows as whole numbers (uint8), a column of their scales, their shape but for the last axis, and which whole
    number is zero."""

    values: str
    scale: str
    shape: str
    zero: str


class Known(NamedTuple):
    """What is known of what a linear layer is given.

    steps (Optional[ndarray]): What one whole number stands for in each column. Shape: (inputs,), float32.
    products (Optional[ndarray]): The mean of x xᵀ. Shape: (inputs, inputs), float32.
    lowest (Optional[float]): The smallest number, if negative ones are small, as behind GELU, or none, as behind ReLU.
    """

    steps: Optional[ndarray] = None
    products: Optional[ndarray] = None
    lowest: Optional[float] = None


NOTHING = Known()


def quantize_weights(weights: bytes, known: Optional[Dict[str, Known]] = None) -> bytes:
    """Store the matrices and the embedding table as int8; a runtime that cannot multiply int8 makes them floats again.

    weights (bytes): An encoder as ONNX, in float32.
    known (Optional[Dict[str, Known]]): By name of the linear layer, from `calibrate`. Layers without products: each weight is
        rounded for itself.
    RETURNS (bytes): The same with weights in int8, about a quarter of the size.
    RAISES (ImportError): If onnx is not installed (E522).
    """
    graph = Int8Graph(weights)
    whole: Dict[str, str] = {}  # two products may share a matrix
    for node in graph.take_products():
        name = graph.store_matrix(node.input[1], products=_find_known(known, node).products)
        if name not in whole:
            whole[name] = graph.add("DequantizeLinear", [f"{name}_int8", f"{name}_scale"], f"{name}_whole", axis=1)
        node.input[1] = whole[name]
        graph.nodes.append(node)
    _quantize_tables(graph)
    return graph.to_bytes()


def quantize_products(weights: bytes, known: Optional[Dict[str, Known]] = None, packing: Optional[Packing] = None) -> bytes:
    """Store the matrices and the embedding table as int8, and multiply in int8.

    Each row of activations (one word piece) is quantised when it comes, with a scale of its own: s = max|x| / 127,
    q = round(x / s), x W = s (q Wq) * scale of the column. A scale for the whole batch, as in ONNX Runtime's own dynamic
    quantisation, lets one outlier spoil all rows, and makes answers depend on what else is in the batch (Yao et al., "ZeroQuant",
    2022, section 4.1). Training for it: `simulate`. Where steps are known before, q = round(x / steps), and x W = q (steps W)q *
    scale of the column: nothing has to be measured, and nothing multiplied afterwards.

    weights (bytes): An encoder as ONNX, in float32.
    known (Optional[Dict[str, Known]]): By name of the linear layer, from `calibrate`: what it is given. Layers without steps: a
        scale for each row. Layers without products: each weight is rounded for itself.
    packing (Optional[Packing]): Store matrices and word embeddings in 4 bits and less. ONNX Runtime makes int8 of the matrices when
        it loads them, and products are as quick as ever.
    RETURNS (bytes): The same for ONNX Runtime, about a quarter of the size.
    RAISES (ImportError): If onnx is not installed (E522).
    """
    graph = Int8Graph(weights, packing)
    graph.constant("one", numpy.float32(1))
    # Unsigned numbers with 128 for zero: those the processor multiplies quickly.
    graph.constant("zero", numpy.uint8(128))
    graph.use(MICROSOFT)
    rounded: Dict[str, RoundedRows] = {}
    for node in graph.take_products():
        given = _find_known(known, node)
        if given.steps is None:
            _multiply_rows(graph, node, given, rounded)
        else:
            _multiply_steps(graph, node, given)
    _quantize_tables(graph)
    return graph.to_bytes()


def least_table(packing: Optional[Packing]) -> int:
    """RETURNS (int): How many rows a table has at least that is rounded."""
    return LEAST_TABLE["whole" if packing is None else "packed"]


def round_to_int8(values: ndarray, axis: int, products: Optional[ndarray] = None) -> Tuple[ndarray, ndarray]:
    """Quantise symmetrically with a scale for each place along `axis`.

    values (ndarray): A matrix.
    axis (int): 0: a scale a row; 1: a scale a column.
    products (Optional[ndarray]): Of what is multiplied with the columns; see `round_compensated`. Needs axis 1.
    RETURNS (Tuple[ndarray, ndarray]): Numbers from -127 to 127 as int8; and the scales as float32, which they are to be multiplied
        with. Shape of the latter: that of `values` with 1 in the other axis.
    """
    scale = numpy.abs(values).max(axis=1 - axis, keepdims=True) / LARGEST
    scale = numpy.where(scale == 0, 1, scale).astype("float32")
    if products is None:
        return numpy.rint(values / scale).astype("int8"), scale

    def round_row(row: ndarray) -> ndarray:
        return numpy.rint(row).clip(-LARGEST, LARGEST)

    return round_compensated(values / scale, products, lambda block: round_row).astype("int8"), scale


class Int8Graph(Graph):
    """An ONNX model whose matrices become int8.

    weights (bytes): The model.
    packing (Optional[Packing]): Of matrices and word embeddings.
    RAISES (ImportError): If onnx is not installed (E522).
    """

    def __init__(self, weights: bytes, packing: Optional[Packing] = None) -> None:
        super().__init__(weights)
        self.packing = packing
        self.stored: Set[str] = set()

    def store_matrix(self, source: str, axis: int = 1, steps: str = "", products: Optional[ndarray] = None) -> str:
        """Store a matrix as NAME_int8 and NAME_scale, once.

        source (str): The matrix.
        axis (int): 0: a scale for each row; 1: for each column.
        steps (str): A stored tensor that its rows are divided by first, if any.
        products (Optional[ndarray]): Of what the matrix, as it is in the graph, is given; see `round_compensated`.
        RETURNS (str): The name.
        """
        name = source + steps
        if name not in self.stored:
            self.stored.add(name)
            values = self.values(source)
            if axis and self.packing is not None:
                scale = _store_packed(self, name, values, steps, products)
            else:
                if steps:
                    factors = self.values(steps)
                    values = values / factors[:, None]
                    products = None if products is None else products * factors * factors[:, None]
                whole, scale = round_to_int8(values, axis, products)
                self.constant(f"{name}_int8", whole)
            self.constant(f"{name}_scale", scale.reshape(-1) if axis else scale)
        return name


def _find_known(known: Optional[Dict[str, Known]], node: Any) -> Known:
    """What is known of the layer that a product was exported from."""
    return next(((known or {})[name] for name in layer_names(node) if name in (known or {})), NOTHING)


def _multiply_rows(graph: Int8Graph, node: Any, known: Known, rounded: Dict[str, RoundedRows]) -> None:
    """Multiply rows, each with a scale of its own, with a stored matrix. rounded (Dict): By source; modified in place."""
    source, output = node.input[0], node.output[0]
    name = graph.store_matrix(node.input[1], products=known.products)
    height, width = graph.tensors[node.input[1]].dims
    if source not in rounded:
        rounded[source] = _round_rows(graph, source, height, known.lowest)
    rows = rounded[source]
    inputs = [rows.values, f"{name}_int8", "one", f"{name}_scale", rows.zero]
    product = graph.add("MatMulIntegerToFloat", inputs, f"{output}_columns", domain=MICROSOFT)
    product = graph.add("Mul", [product, rows.scale], f"{output}_rows")
    shape = graph.add("Concat", [rows.shape, graph.whole(width)], f"{output}_shape", axis=0)
    graph.add("Reshape", [product, shape], output)


def _multiply_steps(graph: Int8Graph, node: Any, known: Known) -> None:
    """Multiply with a stored matrix, in steps that are known before, and add the bias, if there is one."""
    source, output = node.input[0], node.output[0]
    steps = known.steps.astype("float32")
    inverse = f"steps_{zlib.crc32(steps.tobytes())}"  # a layer that is used again and again has the same ones
    values = f"{source}_{inverse}"  # and so have layers that are given the same
    if values not in graph.stored:
        graph.stored.add(values)
        graph.constant(inverse, 1 / steps)
        product = graph.add("Mul", [source, inverse], f"{values}_scaled")
        graph.add("QuantizeLinear", [product, "one", "zero"], f"{values}_uint8")
    name = graph.store_matrix(node.input[1], steps=inverse, products=known.products)
    bias, output = graph.take_bias(output)
    inputs = [f"{values}_uint8", f"{name}_int8", "one", f"{name}_scale", "zero", "", bias]
    graph.add("MatMulIntegerToFloat", inputs if bias else inputs[:5], output, domain=MICROSOFT)


def _round_rows(graph: Int8Graph, source: str, width: int, lowest: Optional[float]) -> RoundedRows:
    """Quantise rows of activations. width (int): Numbers in a row. lowest (Optional[float]): See `Known`."""
    rows = graph.add("Reshape", [source, graph.whole(-1, width)], f"{source}_rows")
    if lowest is None:
        zero, room, least = 128, LARGEST, 1e-12
        sizes = graph.add("Abs", [rows], f"{source}_abs")
    else:  # most whole numbers are for positive ones
        zero = FEW if lowest < 0 else 0
        room, least, sizes = 255 - zero, max(-lowest / max(zero, 1), 1e-12), rows
    names = {"zero": numpy.uint8(zero), "room": numpy.float32(room), "least": numpy.float32(least)}
    for part, value in names.items():
        graph.constant(f"{source}_{part}", value)
    size = graph.add("ReduceMax", [sizes], f"{source}_max", axes=[-1], keepdims=0)
    scale = graph.add("Div", [size, f"{source}_room"], f"{source}_divided")
    scale = graph.add("Max", [scale, f"{source}_least"], f"{source}_scale")
    zeros = graph.add("Expand", [f"{source}_zero", graph.add("Shape", [scale], f"{source}_count")], f"{source}_zeros")
    values = graph.add("QuantizeLinear", [rows, scale, zeros], f"{source}_uint8", axis=0)
    column = graph.add("Unsqueeze", [scale, graph.whole(-1)], f"{source}_column")
    return RoundedRows(values, column, graph.add("Shape", [source], f"{source}_shape", end=-1), f"{source}_zero")


def _quantize_tables(graph: Int8Graph) -> None:
    """Look up int8 rows of large tables, and multiply them with their scales."""
    nodes, graph.nodes = graph.nodes, []
    for node in nodes:
        name = node.input[0] if node.op_type == "Gather" else ""
        if not graph.is_matrix(name) or graph.tensors[name].dims[0] < least_table(graph.packing):
            graph.nodes.append(node)
            continue
        ids, output = node.input[1], node.output[0]
        if graph.packing is not None and len(graph.packing.rare) == graph.tensors[name].dims[0]:
            _look_up_packed(graph, name, ids, output, graph.packing.rare)
            continue
        graph.store_matrix(name, axis=0)
        row = graph.add("Gather", [f"{name}_int8", ids], f"{output}_int8", axis=0)
        row = graph.add("Cast", [row], f"{output}_float", to=graph.onnx.TensorProto.FLOAT)
        scale = graph.add("Gather", [f"{name}_scale", ids], f"{output}_scale", axis=0)
        graph.add("Mul", [row, scale], output)


def _store_packed(graph: Int8Graph, name: str, values: ndarray, steps: str, products: Optional[ndarray]) -> ndarray:
    """Store the columns of a matrix in 4 bits, and make int8 of them in the graph: of constants, so once, when it is loaded.

    steps (str): A stored tensor that its rows are divided by then, if any.
    products (Optional[ndarray]): Of what the matrix is given.
    RETURNS (ndarray): The scales of the columns as int8. Shape: (1, columns).
    """
    packed = pack_rows(values.T, 4, products)
    whole = unpack_rows(packed, 4, len(values))
    found = _unpack(graph, name, packed, 4, len(values))
    if steps:
        whole = whole / graph.values(steps)
        found = graph.add("Div", [found, steps], f"{name}_steps")
    scale = graph.add("Unsqueeze", [f"{name}_scale", graph.whole(-1)], f"{name}_column")
    found = graph.add("Round", [graph.add("Div", [found, scale], f"{name}_divided")], f"{name}_round")
    found = graph.add("Cast", [found], f"{name}_columns", to=graph.onnx.TensorProto.INT8)
    graph.add("Transpose", [found], f"{name}_int8", perm=[1, 0])
    return round_to_int8(whole.T, 1)[1]


def _look_up_packed(graph: Int8Graph, name: str, ids: str, output: str, rare: ndarray) -> None:
    """Look up word pieces in two tables, of rare ones and of others, and add the answers; row 0 is zero, for those of the other."""
    values, int32 = graph.values(name), graph.onnx.TensorProto.INT32
    places = numpy.where(rare, -numpy.cumsum(rare), numpy.cumsum(~rare))
    graph.constant(f"{name}_places", places.astype("int16" if len(places) < 2**15 else "int32"))
    graph.constant(f"{name}_nowhere", numpy.int32(0))
    place = graph.add("Gather", [f"{name}_places", ids], f"{output}_place")
    place = graph.add("Cast", [place], f"{output}_place32", to=int32)
    parts = []
    for bits, chosen, row in ((4, ~rare, place), (2, rare, graph.add("Neg", [place], f"{output}_negative"))):
        row = graph.add("Max", [row, f"{name}_nowhere"], f"{output}_row{bits}")
        table = pack_rows(numpy.concatenate([0 * values[:1], values[chosen]]), bits)
        parts.append(_unpack(graph, f"{output}_{bits}", table, bits, values.shape[1], row))
    graph.add("Add", parts, output)


def _unpack(graph: Int8Graph, name: str, packed: PackedRows, bits: int, width: int, rows: str = "") -> str:
    """Unpack rows in the graph; `rows` (str): numbers of rows, (texts, pieces), or all. RETURNS (str): Floats."""
    table, found = f"levels_{bits}", {"codes": f"{name}_codes", "scales": f"{name}_scales"}
    graph.constant(table, level_table(bits))
    for part, values in packed._asdict().items():
        graph.constant(found[part], values)
        if rows:
            found[part] = graph.add("Gather", [found[part], rows], f"{name}_{part}_found")
    lead = [0, 0] if rows else [0]
    grouped = graph.whole(*lead, packed.scales.shape[1], GROUP)
    flat = graph.whole(*lead, packed.scales.shape[1] * GROUP)
    codes = graph.add("Cast", [found["codes"]], f"{name}_int32", to=graph.onnx.TensorProto.INT32)
    levels = graph.add("Reshape", [graph.add("Gather", [table, codes], f"{name}_levels"), grouped], f"{name}_groups")
    scales = graph.add("Cast", [found["scales"]], f"{name}_float", to=graph.onnx.TensorProto.FLOAT)
    scales = graph.add("Unsqueeze", [scales, graph.whole(-1)], f"{name}_factors")
    padded = graph.add("Reshape", [graph.add("Mul", [levels, scales], f"{name}_scaled"), flat], f"{name}_padded")
    if packed.scales.shape[1] * GROUP == width:
        return padded
    return graph.add("Slice", [padded, graph.whole(0), graph.whole(width), graph.whole(len(lead))], f"{name}_whole")
