"""What type checkers say of the package and of scripts that use it."""
