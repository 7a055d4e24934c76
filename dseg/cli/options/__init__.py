"""Options and value types that several commands share."""
