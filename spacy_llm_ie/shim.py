"""Torch modules made when labels are known, as parts of a thinc model: saved as safetensors, averaged like any parameter."""

import contextlib
import json
from typing import Any, Callable, Dict, Iterator, Optional

import safetensors.torch
import torch
from thinc.api import ArgsKwargs, Model, Optimizer, PyTorchShim, xp2torch

from . import forks  # noqa: F401  forked processes must not wait for threads
from .processor import bfloat16_is_quick

# The key in the header of the safetensors that holds what the module is made from.
SETTINGS = "settings"
# Behind the name of a matrix of int8: the powers of two with which its rows are multiplied.
EXPONENTS = ".exponents"


class ModuleShim(PyTorchShim):
    """Holds a torch module that can be saved and loaded without pickle.

    make (Callable[..., torch.nn.Module]): Makes the module from settings that JSON can hold; the module keeps them in an
        attribute `settings`. There is no module before `build` or loading.
    can_be_half (bool): Whether the module can be computed in bfloat16.
    """

    def __init__(self, make: Callable[..., torch.nn.Module], can_be_half: bool = False) -> None:
        super().__init__(None, serialize_model=self._module_bytes, deserialize_model=self._from_bytes)
        self.make = make
        self.can_be_half, self.is_half, self.is_int8 = can_be_half, False, False

    @property
    def module(self) -> Optional[torch.nn.Module]:
        """The torch module. None before there is one."""
        return self._model

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU before there are any."""
        if self._model is None:
            return torch.device("cpu")
        return next(self._model.parameters()).device

    def build(self, **settings: Any) -> torch.nn.Module:
        """Make the module. RETURNS (torch.nn.Module): It, with new parameters, on the device."""
        device = self.device
        self._model = self.make(**settings).to(device)
        return self._model

    def halve(self, int8: bool = False) -> None:
        """Round the parameters to bfloat16: half the size on disk, and less time where the processor is quicker at bfloat16;
        elsewhere, and in training, they are float32 again.

        int8 (bool): Save matrices and tables in a quarter: as int8, each row times a power of two, which bfloat16 holds exactly.
        """
        self.is_half, self.is_int8 = True, self.is_int8 or int8
        if self.is_int8:
            self._model.load_state_dict(_unpack(_pack(self._model.state_dict())))
        self._model.to(torch.bfloat16)
        if not bfloat16_is_quick():
            self._model.float()

    def begin_update(self, inputs: ArgsKwargs) -> Any:
        """As thinc's; parameters that were rounded to bfloat16 learn in float32."""
        if self.is_half:
            self._model.float()
            self.is_half = self.is_int8 = False
        return super().begin_update(inputs)

    def finish_update(self, optimizer: Optimizer) -> None:
        """As thinc's, which writes to the parameters past torch: what the module keeps of them, it forgets when it is trained.

        optimizer (Optimizer): thinc's.
        """
        super().finish_update(optimizer)
        if self._model is not None:
            self._model.train()

    def predict(self, inputs: ArgsKwargs) -> Any:
        """As thinc's, which turns training off and on again for each call, a walk over all parts of the module.

        inputs (ArgsKwargs): For the module.
        RETURNS (Any): What the module returns, without gradients.
        """
        with torch.no_grad():
            return self.get_evaluated()(*inputs.args, **inputs.kwargs)

    def get_evaluated(self) -> torch.nn.Module:
        """RETURNS (torch.nn.Module): The module, which stays ready for prediction until `begin_update`."""
        if self._model.training:
            self._model.eval()
        return self._model

    def _module_bytes(self, module: Optional[torch.nn.Module]) -> bytes:
        if module is None:
            return b""
        state = _pack(module.state_dict()) if self.is_int8 else module.state_dict()
        if self.is_half:
            state = {name: value.bfloat16() if value.is_floating_point() else value for name, value in state.items()}
        return safetensors.torch.save(state, metadata={SETTINGS: json.dumps(module.settings)})

    def _from_bytes(self, _: Any, data: bytes, device: torch.device) -> Optional[torch.nn.Module]:
        self.is_half = self.is_int8 = False
        if not data:
            return None
        size = int.from_bytes(data[:8], "little")
        settings = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][SETTINGS])
        state = safetensors.torch.load(data)
        self._model = self.make(**settings)
        self._model.load_state_dict(_unpack(state))
        if any(value.dtype == torch.bfloat16 for value in state.values()):
            self.halve(int8=any(name.endswith(EXPONENTS) for name in state))
        return self._model.to(device)

    @contextlib.contextmanager
    def use_params(self, params: Dict[Any, Any]) -> Iterator[None]:
        """Replace parameters by the given ones (moving averages, say) while the context lasts.

        thinc's own shim looks for string keys, which its optimizer no longer writes, and so leaves averages unused.
        """
        backup = {}
        if self._model is not None:
            for name, parameter in self._model.named_parameters():
                if (self.id, name) in params:
                    backup[name] = parameter.data
                    parameter.data = xp2torch(params[(self.id, name)], device=parameter.device)
        yield
        if backup:
            for name, parameter in self._model.named_parameters():
                parameter.data = backup.get(name, parameter.data)


def _pack(state: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """Matrices as int8 and exponents, by row: the least power of two with which the row's largest number is at most 127."""
    packed = {}
    for name, value in state.items():
        if not value.is_floating_point() or value.dim() < 2:
            packed[name] = value
            continue
        rows = value.float().flatten(1)
        shares, exponents = torch.frexp(rows.abs().amax(1) / 127)
        exponents = (exponents - (shares == 0.5).int()).clamp(-120, 121)
        packed[name] = torch.ldexp(rows, -exponents[:, None]).round().to(torch.int8).reshape(value.shape)
        packed[name + EXPONENTS] = exponents.to(torch.int8)
    return packed


def _unpack(packed: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    state = {name: value for name, value in packed.items() if not name.endswith(EXPONENTS)}
    for name, value in state.items():
        if name + EXPONENTS in packed:
            exponents = packed[name + EXPONENTS].int()[:, None]
            state[name] = torch.ldexp(value.float().flatten(1), exponents).reshape(value.shape)
    return state


def parameter_keys(model: Model) -> set:
    """The optimizer's keys of all parameters of a model and the layers in it. RETURNS (set): Pairs of id and name."""
    keys = set()
    for node in model.walk():
        keys.update((node.id, name) for name in node.param_names)
        for shim in node.shims:
            if isinstance(shim, PyTorchShim) and shim._model is not None:
                keys.update((shim.id, name) for name, _ in shim._model.named_parameters())
    return keys
