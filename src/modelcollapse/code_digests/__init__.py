"""Digests of code that decides numbers, independent of comments, formatting and the module's name.

Importing this package imports the standard library only.
"""
