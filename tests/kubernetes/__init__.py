"""The manifests of docker/kubernetes against the schemas of those who read them."""
