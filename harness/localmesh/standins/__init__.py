"""Programs that stand in for container images: started by the pod runner, configured by their environment.

They start in a fraction of a second and take little memory, so they import nothing but the standard library
and `httptools`, and this file imports nothing at all.
"""
