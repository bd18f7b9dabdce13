"""Figures of Jacot, Gabriel, Hongler (ICLR 2020) drawn again, and curves like those of Figure 1 for any network and data.

A module a figure, each an :class:`~kernelcalc.studies.experiment.Experiment`. Both the theory and ``finite`` may be imported.
"""
