"""What `scripts/acceptance-aws` does: contract suites and measurements on a real account."""
