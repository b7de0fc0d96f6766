"""pytest's entry to `binlog.testing`; light, because every run of pytest imports it."""
