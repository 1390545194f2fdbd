//! The embedded durable store: SQLite with group commit.
