"""What is deployed somewhere, built here."""
