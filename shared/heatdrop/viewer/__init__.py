"""The viewer: a static web page, and a small local server that shows it and passes its requests to the API."""
