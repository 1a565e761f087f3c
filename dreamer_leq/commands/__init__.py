"""What the commands do: train, evaluate, compare, report, analyse, film."""
