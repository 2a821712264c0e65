"""Out-of-memory logs: what the message says, which tensor it was, and what the log and the config disagree on."""
