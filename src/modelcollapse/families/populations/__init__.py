"""What families of networks share where a chain is a population: its artifacts, and a family for each member."""
