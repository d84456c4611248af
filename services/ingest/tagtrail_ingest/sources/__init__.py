"""Sources that are not one's own: what is taken of them, from whom, and how it goes away again."""
