"""The mathematics service: is the final answer of a response equal to the known one?"""
