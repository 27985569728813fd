"""Digests of code: what names the code that decides a number, without its comments, its formatting and its place.

Importing this package imports the standard library only.
"""
