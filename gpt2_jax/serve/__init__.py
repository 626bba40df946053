"""A trained run behind a web page and a JSON API."""
