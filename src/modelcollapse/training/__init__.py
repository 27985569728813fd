"""Execution with Lightning: trainers, resumable fits, DDP, checkpoints that cannot run code, progress bars."""
