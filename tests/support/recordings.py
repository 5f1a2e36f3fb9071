"""What a GPU records, on any device: a stand-in for a CUDA graph on a CPU."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from pyrovae.compiling import Compiled, Graph, cuda
from pyrovae.training.reading import Place

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


def repeated(call, stream):
    """As `cuda._replayable`: nothing is computed now, and a replay writes into the same outputs."""
    outputs = []

    def replay():
        new = call()
        if not outputs:
            outputs.extend(output.clone() for output in new)
        for output, value in zip(outputs, new, strict=True):
            output.data.copy_(value)  # as a replay, which does not count as a change

    return outputs, replay


def on_cpu(monkeypatch):
    """Repeat the recorded operations, without a GPU's streams."""
    monkeypatch.setattr(cuda, "_aside", nullcontext)
    monkeypatch.setattr(cuda, "_replayable", repeated)


def recording(monkeypatch, device):
    """Record all graphs, operation by operation and without a compiler; returns the recordings.

    On a CPU the recorded operations are repeated in Python, and the rest is as on a GPU: weights keep their
    memory layout, and blocks of a stream are copied to the same tensors.
    """
    made = []

    def compiled(graph, inputs):
        made.append(cuda.recorded(graph.module, [*inputs, *graph.lifted]))
        return Compiled(made[-1], graph.lifted, 0.0)

    monkeypatch.setattr(Graph, "compiled", compiled)
    monkeypatch.setattr(cuda, "_compiled", lambda module, inputs: torch.no_grad()(module))
    if device == "cpu":
        on_cpu(monkeypatch)
        monkeypatch.setattr("pyrovae.training.compiled.turnable", lambda *_: [])
        monkeypatch.setattr("pyrovae.training.reading.Place", partial(Place, fixed=True))
    return made
