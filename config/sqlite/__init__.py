"""SQLite for many writers at once; see `config.sqlite.base`."""
