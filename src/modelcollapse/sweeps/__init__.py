"""Grids of chains: ``sweep.py`` expands them, runs every chain as a process of its own, and reports on all.

Whatever Hydra launcher starts the jobs, a job only waits for its chain's process (:mod:`.runner`), and the
state of a sweep lies in its folder (:mod:`modelcollapse.record.sweep_folder`).
"""
