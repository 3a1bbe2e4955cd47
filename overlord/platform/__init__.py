"""
The platform: from "I have machines and need caches" to caches that run, heal and grow.

    model <- store, placement, engine <- jobs <- scheduler; executor <- model, store
    api <- model, store, jobs; follow <- store

Each of these is a room of its own, with its own line in `docs/architecture.md`. This package holds
nothing else.
"""
