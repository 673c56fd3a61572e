"""What this library is compared with. None of it is imported before it is used."""
