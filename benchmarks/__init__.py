"""Programs that measure what the README claims, and the tables they printed."""
