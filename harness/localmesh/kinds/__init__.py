"""The kinds of object the local mesh takes, as typed structs that forbid unknown fields.

What is not in a struct is refused with its path, so nothing is ever ignored. A field that is accepted and has no
effect here (a Deployment's `imagePullPolicy`) is in its struct too, under a comment that says so.
"""
