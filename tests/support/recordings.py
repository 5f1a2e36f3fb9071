"""What a GPU records, on any device: a stand-in for a CUDA graph on a CPU."""

import pytest
import torch

from pyrovae.compiling import Compiled, Graph, cuda

GPUS = torch.cuda.device_count()


def gpus(count):
    """The marks of a test that needs this number of GPUs."""
    reason = "no GPU" if count == 1 else f"fewer than {count} GPUs"
    return [pytest.mark.gpu, pytest.mark.skipif(GPUS < count, reason=reason)]


def needs_gpus(count):
    """Mark a test that needs this number of GPUs."""

    def marked(test):
        for mark in gpus(count):
            test = mark(test)
        return test

    return marked


@pytest.fixture(params=[pytest.param("cpu", id="on-cpu"), pytest.param("cuda", id="on-cuda", marks=gpus(1))])
def device(request):
    """A CPU, with a stand-in for the CUDA graph, and a GPU."""
    return torch.device(request.param)


@pytest.fixture
def recordings(monkeypatch, device):
    """Compiled code is a recorded graph, without a compiler; the recordings so far."""
    return recording(monkeypatch, device.type)


def repeated(call, restore, device):
    """As `cuda._captured`: warm up, and give a function that repeats a call into the same outputs."""
    for _ in range(cuda.WARMUPS):
        call()
        restore()
    outputs = [output.clone() for output in call()]
    restore()  # recording a graph computes nothing

    def replay():
        for output, new in zip(outputs, call(), strict=True):
            output.data.copy_(new)  # as a replay, which does not count as a change

    return outputs, replay


def recording(monkeypatch, device):
    """Record all graphs, operation by operation and without a compiler; returns the recordings.

    On a CPU the recorded operations are repeated in Python, and the rest is as on a GPU: weights keep their
    memory layout.
    """
    made = []

    def compiled(graph, inputs):
        made.append(cuda.recorded(graph.module, [*inputs, *graph.lifted]))
        return Compiled(made[-1], graph.lifted, 0.0)

    monkeypatch.setattr(Graph, "compiled", compiled)
    monkeypatch.setattr(cuda, "_compiled", lambda module, inputs: torch.no_grad()(module))
    if device == "cpu":
        monkeypatch.setattr(cuda, "_captured", repeated)
        monkeypatch.setattr("pyrovae.training.compiled.turnable", lambda *_: [])
    return made
