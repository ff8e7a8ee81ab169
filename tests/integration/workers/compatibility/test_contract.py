"""verl and TransferQueue still have what this package relies on; for vLLM see `test_cpu_platform.py`."""

import subprocess
import sys

import pytest
from fixtures import ROOT

from verl_vip.workers.compatibility.contract import TRANSFER_QUEUE, VERL
from verl_vip.workers.compatibility.reliance import Reliance

# Importing verl warns of every engine and accelerator that is absent.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("reliance", VERL + TRANSFER_QUEUE, ids=lambda reliance: reliance.symbol)
def test_installed_release_keeps_the_contract(reliance):
    assert reliance.problem() is None


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_other_releases_break_what_is_known_to_break():
    script = ROOT / "environment" / "contract.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=880, check=False)
    if done.returncode == 3:
        pytest.skip(f"no package index within reach: {done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verl 0.9.0: 5 broken, as expected" in done.stdout
    assert "verl 0.9.1: 0 broken, as expected" in done.stdout


@pytest.mark.parametrize(
    ("reliance", "message"),
    [
        (
            Reliance("verl.no_such_module", "nothing works"),
            "is missing (No module named 'verl.no_such_module')",
        ),
        (Reliance("transfer_queue:no_such_name", "nothing works"), "transfer_queue:no_such_name is missing"),
        (
            Reliance("transfer_queue:kv_list", "nothing works", lambda _: False),
            "transfer_queue:kv_list changed",
        ),
    ],
)
def test_a_broken_contract_is_named_with_its_consequence(reliance, message):
    problem = reliance.problem()
    assert problem is not None
    assert message in problem
    assert problem.endswith("nothing works.")
