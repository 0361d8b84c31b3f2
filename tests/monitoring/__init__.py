"""Prometheus and what it is asked: the alerts' tests, the dashboards' queries, pictures of their panels."""
