"""What is typed in a terminal, a module a command."""
