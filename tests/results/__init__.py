"""What every result can do."""
