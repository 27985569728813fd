"""The package from Python: run, sweep, plan, and what they return; for notebooks, scripts and the interpreter.

Nothing here ends the process: errors are exceptions, and what a run changes in the process is put back.
"""
