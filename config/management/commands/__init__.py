"""Commands that need every room."""
