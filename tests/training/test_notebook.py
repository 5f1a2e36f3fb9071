"""A fit in the kernel of a notebook: one output that is updated, and the interrupt of the kernel."""

import os
import re
import time

import pytest
from jupyter_client.manager import start_new_kernel

from tests.support import PROJECT
from tests.support.web import check_page, text_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")

SHOWN = ("display_data", "update_display_data", "execute_result", "stream", "error")
DECLARE = """
import pyrovae as pv
data = pv.datasets.load("digits", binarize="threshold", count=300)
def small():
    return pv.VAE(data.event_shape, 2, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8), seed=0)
long = {"epochs": 5000, "patience": None, "compile": False, "kl_warmup": 0}
run = pv.fit(small(), data, epochs=1, compile=False, progress=False)
"""


class Kernel:
    """A kernel of Jupyter, in which cells are run."""

    def __init__(self):
        env = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
        env.pop("MPLBACKEND", None)
        self.manager, self.client = start_new_kernel(kernel_name="python3", env=env)

    def run(self, code, interrupt_at=""):
        """The outputs of a cell, which is interrupted when one has these words."""
        outputs = []

        def note(message):
            nonlocal interrupt_at
            if message["msg_type"] in SHOWN:
                outputs.append(message)
            if interrupt_at and interrupt_at in str(message["content"]):
                interrupt_at = ""
                self.manager.interrupt_kernel()

        self.client.execute_interactive(code, output_hook=note, timeout=100)
        return outputs

    def printed(self, expression):
        (output,) = self.run(f"print({expression})")
        return output["content"]["text"].strip()


@pytest.fixture(scope="module")
def kernel():
    made = Kernel()
    assert made.run(DECLARE) == [], "nothing is printed, and no warning"
    yield made
    made.client.stop_channels()
    made.manager.shutdown_kernel(now=True)


def test_the_progress_is_one_output_that_ends_as_the_result(kernel):
    start = time.monotonic()
    outputs = kernel.run("run = pv.fit(small(), data, epochs=30, compile=False)")
    seconds = time.monotonic() - start
    kinds = [message["msg_type"] for message in outputs]
    assert kinds[0] == "display_data"
    assert set(kinds[1:]) == {"update_display_data"}
    assert len(kinds) <= 2 * seconds + 4
    assert len({message["content"]["transient"]["display_id"] for message in outputs}) == 1
    bundles = [message["content"]["data"] for message in outputs]
    for bundle in bundles:
        check_page(bundle["text/html"])
        assert set(bundle) == {"text/plain", "text/html"}
    assert "<progress" in bundles[0]["text/html"]
    for words in (bundles[-1]["text/plain"], text_of(bundles[-1]["text/html"])):
        assert kernel.printed("str(run)") in words
        assert "30 epochs in batches of" in words  # the settings, which it told
    assert "<polyline" in bundles[-1]["text/html"]
    assert "<progress" not in bundles[-1]["text/html"]


def test_the_interrupt_of_a_kernel_returns_the_run(kernel):
    outputs = kernel.run("vae = small(); run = pv.fit(vae, data, **long); run", interrupt_at="rows/s")
    assert [m for m in outputs if m["msg_type"] in ("error", "stream")] == []
    shown = outputs[-1]["content"]["data"]["text/plain"]
    assert re.search(r"best at \d+: validation bound", shown)
    assert re.search(r"stopped in epoch \d+ of 5000", shown)
    assert kernel.printed("run.program is vae and 0 < run.best_epoch <= run.epochs") == "True"
    best = "run.history['validation'].argmax() + 1 == run.best_epoch"
    assert kernel.printed(best) == "True"


def test_it_ends_a_loop_and_a_verb_that_fits(kernel):
    loop = "tries = 0\nwhile True:\n    tries += 1\n    pv.fit(small(), data, **long)"
    outputs = kernel.run(loop, interrupt_at="rows/s")
    assert outputs[-1]["content"]["ename"] == "KeyboardInterrupt"
    assert kernel.printed("tries") == "2"
    mixture = "pv.VAE(data.event_shape, 2, prior=pv.priors.GaussianMixture(components=2))"
    verb = f"pv.exploring.choose({mixture}, data, (2,), **long, progress=True)"
    outputs = kernel.run(verb, interrupt_at="rows/s")
    assert outputs[-1]["content"]["ename"] == "KeyboardInterrupt"


def test_figures_are_sharp_and_settings_of_the_user_stay(kernel):
    kernel.run("import matplotlib; before = dict(matplotlib.rcParams.copy())")
    for shown in ("run.plot()", "run.plot().figure"):
        outputs = kernel.run(shown)
        content = outputs[-1]["content"]
        assert "data" in content, outputs
        assert set(content["data"]) == {"image/png", "text/plain"}
        assert content["metadata"]["image/png"] == {"width": 600, "height": 380}
    assert kernel.printed("dict(matplotlib.rcParams.copy()) == before") == "True"


def test_results_are_shown_as_pages(kernel):
    for code in ("data", "small()", "run", "pv.log_evidence(run.program, data.test[:5], particles=5)"):
        (output,) = kernel.run(code)
        check_page(output["content"]["data"]["text/html"])
