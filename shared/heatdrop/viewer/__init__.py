"""The viewer: a static page, and the small server of this machine that shows it and speaks to the API for it."""
