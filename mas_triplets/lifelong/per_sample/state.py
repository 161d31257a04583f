"""Looking at a model without leaving a trace: whatever an estimate changes is put back, also after an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode with gradients enabled; afterwards everything is as it was.

    Restored: the training flag of every submodule, buffers (values, and which tensor object they are),
    `requires_grad` and `.grad` of every parameter, the random state of the CPU and of the model's GPUs, the caller's
    `no_grad`, `inference_mode` and autocast state. No hook is left: none is ever put on a module or a parameter.
    """
    training = [(module, module.training) for module in model.modules()]
    # a buffer is copied because code in a forward may write to it; the version counter tells whether it was
    buffers = [
        (module, name, buffer, None if buffer is None else (buffer._version, buffer.detach().clone()))
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    tensors = [*model.parameters(), *model.buffers()]
    gpus = sorted({tensor.device.index for tensor in tensors if tensor.device.type == "cuda"})
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(gpus))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        try:
            model.eval()
            # the fused inference path of attention hides its parameters from autograd's view of the forward
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_attention)
            for module, flag in training:
                module.training = flag
            for module, name, buffer, saved in buffers:
                module._buffers[name] = buffer
                if buffer is not None and saved is not None and buffer._version != saved[0]:
                    with torch.no_grad():
                        buffer.copy_(saved[1])
            for parameter, flag, gradient in parameters:
                parameter.requires_grad_(flag)
                parameter.grad = gradient


@contextmanager
def frozen(parameters: list[Tensor]) -> Iterator[None]:
    """Within it no parameter requires a gradient, so a backward pass neither computes nor stores any."""
    flags = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
