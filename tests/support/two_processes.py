"""Two processes of one group that take orders."""

import traceback

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

SECONDS = 60  # a hang is a failure


def work(rank, folder, orders):
    """What a process of the pair does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    while (order := orders.recv()) is not None:
        try:
            orders.send((True, order[0](*order[1:])))
        except BaseException:
            orders.send((False, traceback.format_exc()))
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """`pair(function, *args)`: what each of two processes of one group gives."""
    folder, context = tmp_path_factory.mktemp("pair"), torch.multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    workers = [context.Process(target=work, args=(r, folder, pipes[r][1]), daemon=True) for r in range(2)]
    for worker in workers:
        worker.start()

    def call(function, *args):
        for mine, _ in pipes:
            mine.send((function, *args))
        assert all(mine.poll(SECONDS) for mine, _ in pipes), "a process hangs"
        found = [mine.recv() for mine, _ in pipes]
        assert all(good for good, _ in found), "\n".join(text for good, text in found if not good)
        return [result for _, result in found]

    yield call
    for (mine, theirs), worker in zip(pipes, workers, strict=True):
        mine.send(None)
        worker.join(10)
        worker.kill()
        worker.join()
        mine.close()
        theirs.close()
