"""A recorded graph gives what its function gives, wherever its inputs are in memory."""

import threading

import pytest
import torch

from pyrovae.compiling import cuda, random_state, traced
from tests.support.recordings import needs_gpus, on_cpu, recording


def step(number, table, weight, buffer):
    """Draws, reads a row of a table, and changes a weight, a part of a buffer and its own counter."""
    with torch.no_grad():
        noise = torch.randn_like(weight) + table.index_select(0, number)[0]
        weight.copy_(weight - 0.1 * noise)
        buffer.unbind(0)[1].add_(1.0)
        number.add_(1)
        return noise.sum(), weight.square().sum()


def tensors(device, count=2):
    """The inputs of `step`, for a table of this number of rows."""
    table = torch.arange(3.0 * count, device=device).view(count, 3)
    weight = torch.linspace(-1, 1, 3, device=device).requires_grad_()
    return [torch.zeros(1, dtype=torch.int64, device=device), table, weight, torch.zeros(2, device=device)]


def graph_of(device):
    return traced(step, tensors(device)).module


def after(call, inputs, seed=3):
    """The outputs and the inputs after a call, and the random state."""
    torch.manual_seed(seed)
    outputs = [output.clone() for output in call(inputs)]
    return outputs, [t.detach().clone() for t in inputs], random_state(inputs[0].device)


def agree(call, inputs, device):
    """A call changes and gives what the function does from the same state."""
    others = [t.detach().clone() for t in inputs]
    torch.testing.assert_close(after(call, inputs), after(lambda values: step(*values), others))


def test_what_a_graph_changes_is_found(device):
    assert cuda.written(graph_of(device)) == {0, 2, 3}


def test_recording_changes_nothing(device, recordings):
    """Also with a table of one row: a second warm-up step would read behind it."""
    inputs = tensors(device, count=1)
    before, random = [t.detach().clone() for t in inputs], random_state(device)
    cuda.recorded(traced(step, inputs).module, inputs)
    torch.testing.assert_close([t.detach() for t in inputs], before)
    assert torch.equal(random_state(device), random)


def test_replays_are_calls(device, recordings):
    inputs = tensors(device)
    call = cuda.recorded(graph_of(device), inputs)
    agree(call, inputs, device)
    agree(call, inputs, device)
    assert inputs[0].item() == 2


def test_inputs_elsewhere_are_read_and_changed_there(device, recordings):
    inputs = tensors(device)
    call = cuda.recorded(graph_of(device), inputs)
    first = [t.detach().clone() for t in inputs]
    for _ in range(2):
        others = [t.detach() + 0 for t in tensors(device)]
        others[1].mul_(5.0)
        agree(call, others, device)
    torch.testing.assert_close([inputs[i].detach() for i in (0, 2, 3)], [first[i] for i in (0, 2, 3)])
    agree(call, [inputs[0], others[1], *inputs[2:]], device)
    with pytest.raises(RuntimeError, match="the memory of input 1 was used for other values"):
        call(inputs)


def test_a_table_is_copied_once_and_again_after_a_change(device, recordings, monkeypatch):
    inputs, copies = tensors(device), []
    call = cuda.recorded(graph_of(device), inputs)
    table = inputs[1] * 2
    real = torch.Tensor.copy_
    monkeypatch.setattr(torch.Tensor, "copy_", lambda to, value: copies.append(value) or real(to, value))

    def copied():
        copies.clear()
        inputs[0].zero_()
        agree(call, [inputs[0], table, *inputs[2:]], device)
        return sum(value is table for value in copies)

    assert [copied(), copied()] == [1, 0]
    table.add_(1.0)
    assert [copied(), copied()] == [1, 0]
    table = table.clone()
    assert [copied(), copied()] == [1, 0]


def test_a_parameter_with_other_memory_is_followed(device, recordings):
    """As after `module.to(...)`, which replaces the memory of the same tensor."""
    inputs = tensors(device)
    call = cuda.recorded(graph_of(device), inputs)
    inputs[2].data = inputs[2].data * 3
    agree(call, inputs, device)


def test_an_input_of_another_length_is_refused(device, recordings):
    """One row would be broadcast over the recorded table without a word."""
    inputs = tensors(device)
    call = cuda.recorded(graph_of(device), inputs)
    with pytest.raises(RuntimeError, match=r"recorded with input 1 of shape \(2, 3\), not \(1, 3\)"):
        call([inputs[0], inputs[1][:1].clone(), *inputs[2:]])


def test_an_output_of_one_graph_is_an_input_of_the_next(device, recordings):
    """A replay changes the values of an output and not its version, as a process's vector of gradients."""
    source, weight = torch.zeros(3, device=device), torch.zeros(3, device=device)
    first = cuda.recorded(traced(lambda a: (a * 2,), [source]).module, [source])
    second = cuda.recorded(traced(lambda a: (a + 1,), [weight]).module, [weight])
    for value in (1.0, 5.0, 7.0):
        source.fill_(value)
        assert second(first([source]))[0].tolist() == [2 * value + 1] * 3


def test_a_tensor_of_the_cpu_is_moved_and_followed(device, recordings):
    """A constant of the program that stayed on the CPU: its value must not be frozen in the graph."""
    x, scale = torch.ones(3, device=device), torch.tensor(2.0)
    call = cuda.recorded(traced(lambda a, b: (a * b,), [x, scale]).module, [x, scale])
    assert call([x, scale])[0].tolist() == [2.0] * 3
    scale.fill_(5.0)
    assert call([x, scale])[0].tolist() == [5.0] * 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_recording_that_is_interrupted_leaves_nothing_behind(device, recordings, monkeypatch, error):
    inputs, calls, real = tensors(device), [], cuda._compiled
    last = cuda.WARMUPS + (device.type == "cuda")  # there in the recording, and here while it warms up

    def interrupted(module, places):
        def run(*values):
            calls.append(1)
            outputs = real(module, places)(*values)
            if len(calls) == last:
                raise error
            return outputs

        return run

    with monkeypatch.context() as patch:
        patch.setattr(cuda, "_compiled", interrupted)
        with pytest.raises(error):
            cuda.recorded(graph_of(device), inputs)
    assert torch.isfinite(torch.randn(3, device=device)).all()
    assert torch.zeros(1, device=device).add_(1).item() == 1
    again = tensors(device)
    agree(cuda.recorded(graph_of(device), again), again, device)


@needs_gpus(1)
def test_a_recording_that_the_driver_ends_leaves_nothing_behind(monkeypatch):
    """Waiting for the GPU is not allowed in a recording: afterwards numbers are drawn and graphs recorded."""
    device = torch.device("cuda")
    recording(monkeypatch, "cuda")
    inputs, real, usual = tensors(device), cuda._compiled, torch.cuda.current_stream(device)

    def waiting(module, places):
        def run(*values):
            outputs = real(module, places)(*values)
            if torch.cuda.is_current_stream_capturing():
                torch.cuda.synchronize()
            return outputs

        return run

    with monkeypatch.context() as patch:
        patch.setattr(cuda, "_compiled", waiting)
        with pytest.raises(RuntimeError):
            cuda.recorded(graph_of(device), inputs)
    assert torch.cuda.current_stream(device) == usual
    assert torch.isfinite(torch.randn(3, device=device)).all()
    again = tensors(device)
    agree(cuda.recorded(graph_of(device), again), again, device)


@needs_gpus(1)
def test_other_threads_may_allocate_meanwhile(monkeypatch):
    """As a thread does that prepares the next rows."""
    device, stop = torch.device("cuda"), threading.Event()
    recording(monkeypatch, "cuda")

    def busy():
        while not stop.is_set():
            torch.empty(2**24, device=device)
            torch.cuda.empty_cache()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(5):
            inputs = tensors(device)
            agree(cuda.recorded(graph_of(device), inputs), inputs, device)
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_the_compiler_draws_as_torch_does(device, monkeypatch):
    """With TorchInductor: the same random numbers, and nothing changed by compiling."""
    if device.type == "cpu":
        on_cpu(monkeypatch)
    inputs, random = tensors(device), random_state(device)
    call = cuda.recorded(graph_of(device), inputs)
    assert torch.equal(random_state(device), random)
    agree(call, inputs, device)
    agree(call, inputs, device)
