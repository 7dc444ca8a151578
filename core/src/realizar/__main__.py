"""`python -m realizar` is `realizar`."""

from realizar.cli.main import main

main()
