"""What NVML's return codes mean for who reads a GPU. One table; a code that is not in it is a failure of one moment."""

from enum import Enum, auto

import pynvml


class Meaning(Enum):
    """UNSUPPORTED: this GPU, this driver or this permission will not answer that call later either.
    GPU_LOST: nothing can be read of this GPU. SESSION_OVER: nothing can be read before NVML is initialised again.
    PASSING: no answer this time."""

    UNSUPPORTED = auto()
    GPU_LOST = auto()
    SESSION_OVER = auto()
    PASSING = auto()


# INVALID_ARGUMENT comes from what a GPU does not have (a link, a sensor), and from MIG instances for most calls.
_MEANINGS = {
    pynvml.NVML_ERROR_NOT_SUPPORTED: Meaning.UNSUPPORTED,
    pynvml.NVML_ERROR_INVALID_ARGUMENT: Meaning.UNSUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION: Meaning.UNSUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: Meaning.UNSUPPORTED,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: Meaning.UNSUPPORTED,
    pynvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED: Meaning.UNSUPPORTED,
    pynvml.NVML_ERROR_DEPRECATED: Meaning.UNSUPPORTED,
    pynvml.NVML_ERROR_GPU_IS_LOST: Meaning.GPU_LOST,
    pynvml.NVML_ERROR_GPU_NOT_FOUND: Meaning.GPU_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED: Meaning.GPU_LOST,
    pynvml.NVML_ERROR_UNINITIALIZED: Meaning.SESSION_OVER,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: Meaning.SESSION_OVER,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: Meaning.SESSION_OVER,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: Meaning.SESSION_OVER,
}


def meaning_of(code: int) -> Meaning:
    """The meaning of a code other than NVML_SUCCESS."""
    return _MEANINGS.get(code, Meaning.PASSING)


def raise_if_over(error: pynvml.NVMLError) -> None:
    """Raises the error again unless other calls can still be made of this GPU."""
    if meaning_of(error.value) in (Meaning.GPU_LOST, Meaning.SESSION_OVER):
        raise error
