"""Experiments on finite networks with the theory beside them: those of Sagun et al. (2016, 2017), one module each.

``task`` and ``limit`` are the two sides of every experiment, ``registry`` finds the experiments: a class with the decorator
``experiment``, a :class:`~kernelcalc.studies.experiment.Experiment`, in a file of its own. Settings are small by default,
and the papers' (on 14 × 14 digits) with ``full=True``. Everything but the command line may be imported here.

References
----------
Sagun, Bottou, LeCun, "Eigenvalues of the Hessian in deep learning: singularity and beyond" (2016).
Sagun, Evci, Güney, Dauphin, Bottou, "Empirical analysis of the Hessian of over-parametrized neural networks" (2017).
"""

from kernelcalc.studies.sagun.registry import experiments, run

__all__ = ["experiments", "run"]
