"""What `import dreamer_leq` offers, behind names that docs/api.md explains.

It only puts the other rooms' functions together, checks what the user gives them, and
hands out NumPy arrays.
"""
