"""What every other package may use and what knows nothing of them: errors, time, identities, output."""
