"""How work is executed: trainers, checkpoints that cannot run code, progress bars."""
