"""What people and programs see: status, API, words."""
