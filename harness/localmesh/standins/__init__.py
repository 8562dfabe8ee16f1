"""Programs that stand in for container images: started by the pod runner, configured by their environment.

They start in a fraction of a second and take little memory, so they import nothing but the standard library
and `httptools`, and `h2` only once somebody speaks HTTP/2 to them; this file imports nothing at all.
"""
