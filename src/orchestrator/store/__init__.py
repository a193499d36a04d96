"""SQL and only SQL. Every function takes a connection and runs inside the caller's transaction."""
