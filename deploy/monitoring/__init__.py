"""What watches a deployment: Prometheus' configuration and alerts, and Grafana's dashboards."""
