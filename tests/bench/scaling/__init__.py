"""What grows with the load, from what is measured to what saturates when (docs/scaling.md)."""
