"""An ONNX model whose products of matrices are to be rewritten: what is stored in it, and its nodes in order."""

import re
from typing import Any, List, Set, Tuple

import numpy
from numpy import ndarray

from ..errors import Errors


class Graph:
    """The nodes and the stored tensors of an ONNX model while they are rewritten.

    weights (bytes): The model.
    RAISES (ImportError): If onnx is not installed (E522).
    """

    def __init__(self, weights: bytes) -> None:
        try:
            import onnx
        except ImportError as error:
            raise ImportError(Errors.E522) from error
        self.onnx = onnx
        self.model = onnx.load_from_string(weights)
        self.tensors = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._simplify()
        self.given = frozenset(self.tensors)
        self.nodes: List[Any] = []
        self.joined: Set[str] = set()

    def _simplify(self) -> None:
        """Write in one way what torch writes in several: a stored tensor that stands under other names, as in layers that are used
        again and again (ALBERT), and products with a bias (`Gemm`: GPT-2, OPT), which become a product and a sum.
        """
        graph, names, nodes = self.model.graph, {}, []
        may_rename = not self._has_branches()  # a branch knows the tensors around it by name
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            if node.op_type == "Identity" and node.input[0] in self.tensors and may_rename:
                names[node.output[0]] = node.input[0]
            elif node.op_type == "Gemm" and node.input[1] in self.tensors:
                nodes += self._split_gemm(node)
            else:
                nodes.append(node)
        del graph.node[:]
        graph.node.extend(nodes)

    def _split_gemm(self, node: Any) -> List[Any]:
        """RETURNS (List[NodeProto]): Nodes that answer the same; this one, if it has factors, or rows that stand in columns."""
        settings = {setting.name: self.onnx.helper.get_attribute_value(setting) for setting in node.attribute}
        is_plain = settings.get("alpha", 1) == settings.get("beta", 1) == 1 and not settings.get("transA", 0)
        if not is_plain:
            return [node]
        rows, matrix, *bias = node.input
        if settings.get("transB", 0):
            transposed = f"{matrix}_transposed"
            if transposed not in self.tensors:
                self.constant(transposed, self.values(matrix).T)
            matrix = transposed
        (output,) = node.output
        product = f"{output}_product" if bias else output
        found = [self.onnx.helper.make_node("MatMul", [rows, matrix], [product], name=node.name)]
        return found + ([self.onnx.helper.make_node("Add", [product, *bias], [output])] if bias else [])

    def is_matrix(self, name: str) -> bool:
        """Whether a tensor that was stored from the beginning is a matrix of floats."""
        tensor = self.tensors.get(name) if name in self.given else None
        return tensor is not None and len(tensor.dims) == 2 and tensor.data_type == self.onnx.TensorProto.FLOAT

    def take_products(self) -> Any:
        """Go through the nodes in order. YIELDS: Products with a stored matrix, which the caller replaces; others are kept."""
        for node in self.model.graph.node:
            if node.op_type == "MatMul" and self.is_matrix(node.input[1]):
                yield node
            elif not self.joined.intersection(node.output):
                self.nodes.append(node)

    def take_bias(self, output: str) -> Tuple[str, str]:
        """Take the addition of a bias out, if nothing else is done with a product.

        output (str): The product.
        RETURNS (Tuple[str, str]): The name of the bias ("": there is none), and of what the addition gives.
        """
        takers = [node for node in self.model.graph.node if output in node.input]
        if len(takers) == 1 and takers[0].op_type == "Add":
            (bias,) = [name for name in takers[0].input if name != output] or [""]
            if bias in self.given and len(self.tensors[bias].dims) == 1:
                self.joined.add(takers[0].output[0])
                return bias, takers[0].output[0]
        return "", output

    def values(self, name: str) -> ndarray:
        """RETURNS (ndarray): A stored tensor."""
        return self.onnx.numpy_helper.to_array(self.tensors[name])

    def constant(self, name: str, values: Any) -> None:
        """Store a tensor."""
        self.tensors[name] = self.onnx.numpy_helper.from_array(numpy.asarray(values), name)

    def whole(self, *numbers: int) -> str:
        """Store whole numbers, once. RETURNS (str): The name of the tensor, int64."""
        name = "_".join(["whole", *map(str, numbers)])
        if name not in self.tensors:
            self.constant(name, numpy.array(numbers, dtype="int64"))
        return name

    def add(self, kind: str, inputs: List[str], output: str, **settings: Any) -> str:
        """Append a node. RETURNS (str): The name of its output."""
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **settings))
        return output

    def use(self, domain: str) -> None:
        """Allow nodes of another domain."""
        self.model.opset_import.append(self.onnx.helper.make_opsetid(domain, 1))

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The model, without tensors that no node uses."""
        graph = self.model.graph
        used = {name for node in self.nodes for name in node.input}
        nodes, tensors = list(self.nodes), [tensor for name, tensor in self.tensors.items() if name in used]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(tensors)
        self._shorten_names()
        return self.model.SerializeToString()

    def _has_branches(self) -> bool:
        return any(setting.HasField("g") for node in self.model.graph.node for setting in node.attribute)

    def _shorten_names(self) -> None:
        """Number the tensors: the names that torch gives them are 2% of a small encoder. Inputs and outputs keep theirs."""
        if self._has_branches():
            return  # a branch knows the tensors around it by name
        graph = self.model.graph
        short = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
        for node in graph.node:
            node.name = ""
            for names in (node.input, node.output):
                names[:] = [short.setdefault(name, f"t{len(short)}") for name in names]
        for tensor in graph.initializer:
            tensor.name = short[tensor.name]


def layer_names(node: Any) -> Tuple[str, str]:
    """The linear layer that a product was exported from: /encoder/layer.0/query/MatMul -> layer.0.query.

    node (NodeProto): The product.
    RETURNS (Tuple[str, str]): Its name; and without the number that it has from the second time on that the layer is used (ALBERT).
    """
    name = ".".join(node.name.split("/")[2:-1])
    return name, re.sub(r"_\d+$", "", name)
