"""Recording datasets: which tasks, which policies, in which form."""
