"""What people look at: Grafana dashboards and alert rules, built by Python into committed files."""
