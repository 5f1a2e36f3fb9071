"""The devices on which the tests of this folder run."""

import pytest
import torch

from tests.support.recordings import DEVICES, recording


@pytest.fixture(params=DEVICES)
def device(request):
    """A CPU, with a stand-in for the CUDA graph, and a GPU."""
    return torch.device(request.param)


@pytest.fixture
def recordings(monkeypatch, device):
    """Compiled code is a recorded graph, without a compiler; the recordings so far."""
    return recording(monkeypatch, device.type)
