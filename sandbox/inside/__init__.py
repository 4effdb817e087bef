"""What runs in the processes of a run, on the far side of `sandbox/spawn.py`.

`launch` takes the layers of confinement that the machine permits, `keeper` watches the program's whole process tree,
`harness` executes the source. These modules are imported anew for each run, so they import as little as they can.
"""
