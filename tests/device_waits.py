"""Record the operations that would make the CPU wait for a GPU, on a machine without one."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode

_READS = {"_local_scalar_dense", "is_nonzero", "equal"}  # a value of the device decides on the CPU
_SIZES = {"nonzero", "masked_select", "unique", "_unique2", "repeat_interleave"}  # a value decides on a shape
_INDEXED = {"index", "index_put", "index_put_"}  # with booleans they are nonzero


class DeviceWaits(TorchDispatchMode):
    """Collects the names of such operations in `waits` while it is entered."""

    def __init__(self):
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation._schema.name.split("::")[1]
        by_flags = name in _INDEXED and any(
            index is not None and not index.dtype.is_floating_point and str(index.dtype) == "torch.bool"
            for index in args[1]
        )
        if name in _READS or name in _SIZES or by_flags:
            self.waits.append(name)
        return operation(*args, **(kwargs or {}))
