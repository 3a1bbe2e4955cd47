"""
Where log events and numbers go; it knows nothing of what they are about.

    logs         twisted.logger's events as text for people, or as JSON lines
    metrics      measurements, asked for at each scrape, as metrics of Prometheus
    exposition   the pages at `stat`: /metrics, /healthz, /readyz, and what others show there
    site         the HTTP site that serves them, with what its clients may cost
"""
