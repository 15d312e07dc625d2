"""Named SQL of the screens and alerts, and the only place that knows tables and columns."""
