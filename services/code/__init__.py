"""The code service: does what a response says run, and is it right? It judges outside; the code runs in the sandbox."""
