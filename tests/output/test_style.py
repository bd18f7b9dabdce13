"""Pictures are drawn of any object with the attributes asked for."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc.errors import MissingExtraError
from kernelcalc.output.comparison import plot_comparison
from kernelcalc.output.moments import plot_moments
from kernelcalc.output.phase import plot_phase
from kernelcalc.output.spectrum import plot_density, plot_scree
from kernelcalc.output.style import axes_or_new, matplotlib_part, require_matplotlib

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_plain_objects_are_drawn():
    two = np.arange(1.0, 3.0)
    moments = SimpleNamespace(kmax=1, times=two, trace_i=two[None], trace_h=two[None], trace_h_std=0 * two[None])
    assert plot_moments(moments).get_lines()[0].get_ydata().tolist() == [1.0, 2.0]
    plane = np.array([[0.5, 2.0], [0.5, 2.0]])
    phases = SimpleNamespace(
        activation="toy", sigma_w=two, beta=two, q=plane, chi=plane, line=(two[:1], two[:1], two[:1])
    )
    assert plot_phase(phases).get_xlim() == (1.0, 2.0)
    values = SimpleNamespace(values=np.array([4.0, 1.0, 1e-20]))
    assert plot_scree(values).get_lines()[0].get_ydata().tolist() == [4.0, 1.0]
    assert sum(bar.get_height() for bar in plot_density(values).patches) == 2
    quantity = SimpleNamespace(label="Θ", part="", time=0.0)
    row = SimpleNamespace(
        quantity=quantity, theory=1.0, means=[1.1, 1.05], errors=[0.1, 0.1], limit=1.0, limit_error=0.1, bias=1.0, z=0.0,
        first_order=1.0, passed=True,
    )  # fmt: skip
    report = SimpleNamespace(rows=[row], failures=[], widths=(8, 16), trials=3)
    ax = axes_or_new(None)
    assert plot_comparison(report, ax) is ax
    assert "Θ" in ax.get_title()


def test_matplotlib_is_loaded_when_it_is_needed(monkeypatch):
    code = "import sys, kernelcalc.training.trajectory, kernelcalc.output.phase; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[plot\]"):
        require_matplotlib()
    with pytest.raises(MissingExtraError):
        matplotlib_part("nothing_of_the_kind")
