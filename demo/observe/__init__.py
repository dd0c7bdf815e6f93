"""What is known of each request and of Redis: traces, sums, metrics, logs."""
