"""What a deployment is made of and who decided it: changes, reports, baselines."""
