"""python -m blindlens"""

from .cli import main

main()
