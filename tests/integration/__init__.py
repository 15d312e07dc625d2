"""Tests against a real Apache Kafka and a real listening ClickHouse."""
