"""Training the bundled model and measuring what its steps really take."""
