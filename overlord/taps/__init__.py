"""Options and makeService of each service."""
