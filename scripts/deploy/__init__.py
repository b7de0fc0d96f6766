"""What deploys the consumers on AWS: a template, and what writes its roles."""
