"""What is only there for speed; tests compare each with its plain version."""
