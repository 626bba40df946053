"""Many runs: swept over seeds and settings, cross-validated, listed and compared."""
