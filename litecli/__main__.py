"""`python -m litecli`: the same program as `litecli`, under the name that torchrun can start."""

from litecli.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
